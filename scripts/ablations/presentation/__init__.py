"""All text for readers: tables and figures of the numbers in `analysis`, which never imports this folder."""
