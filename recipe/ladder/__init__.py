"""Many runs: what their folders say, compared. Nothing here trains."""
