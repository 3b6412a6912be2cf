"""What must not die: the keeper and the holders. Standard library only; imports nothing else of ours."""
