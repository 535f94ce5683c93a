"""Sends signed requests to addresses that users choose."""
