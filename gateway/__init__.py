"""The gateway: REST and webhooks, the database that is the truth, and the worker."""
