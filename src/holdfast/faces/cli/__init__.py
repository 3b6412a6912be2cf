"""The `hold` command. `main` decides between two ways in: `fast`, for the forms that must start in milliseconds, and
click (`commands`, `hosting`), for everything else."""
