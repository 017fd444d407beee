"""Tables: the collection's schema, its files, how it is built and found."""
