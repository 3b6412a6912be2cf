"""What hosts and clients do alike where they meet the machine and the network. Decides nothing."""
