"""The meeting point: who reaches whom. It routes ciphertext, decides nothing about sessions, and remembers nothing of them."""
