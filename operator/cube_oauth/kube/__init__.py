"""The only code that talks to the API server: requests, watches, the Lease, and the writes that we make."""
