"""Tests of the HTTP and WebSocket edge, with service doubles and a real Valkey."""
