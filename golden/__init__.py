"""What is computed: the definition of the right answer, bit by bit."""
