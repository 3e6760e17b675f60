"""HTTP: what comes in is read, checked and handed on; what goes out is written here."""
