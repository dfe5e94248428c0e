"""The command line: each command parses, calls one function, prints. No rule of trading or research lives here."""
