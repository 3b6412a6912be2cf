"""What is said: messages and framing, sans-I/O. The same messages travel a local socket and, later, a sealed channel."""
