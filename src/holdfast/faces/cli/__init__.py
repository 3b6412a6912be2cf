"""The command `hold`."""
