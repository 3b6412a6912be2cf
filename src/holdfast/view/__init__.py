"""What is seen: the terminal engine behind a typed adapter, keyframes, repaint, and the worker that runs them."""
