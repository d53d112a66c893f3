"""The ground: words, records and errors every other room uses. Imports the standard library, msgpack, pydantic."""
