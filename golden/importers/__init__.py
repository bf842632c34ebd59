"""Networks that others have published in formats of their own."""
