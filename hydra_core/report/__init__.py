"""What people look at: an account's state, the terminal dashboard, the HTML report. Reads everything, decides nothing."""
