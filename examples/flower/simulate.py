"""Run the app of this folder on one machine: three clients, one processor each in turn."""

from federated_app import CLIENTS, client_app, server_app
from flwr.simulation import run_simulation

if __name__ == "__main__":
    run_simulation(
        server_app=server_app,
        client_app=client_app,
        num_supernodes=CLIENTS,
        backend_config={"client_resources": {"num_cpus": 1, "num_gpus": 0.0}},
    )
