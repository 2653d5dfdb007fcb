"""An app has to name a ClientApp; Rust nodes never load it."""
from flwr.clientapp import ClientApp

app = ClientApp()
