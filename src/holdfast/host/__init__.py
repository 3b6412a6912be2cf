"""Where it runs: the daemon that orders, records, archives and projects every session of this machine."""
