"""What becomes hardware: one folder an engine, one file a unit."""
