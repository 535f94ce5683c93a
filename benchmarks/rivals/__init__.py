"""Other queues, each as its documentation says, with a worker process of its own on the same Valkey."""
