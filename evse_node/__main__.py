"""`python -m evse_node` is `evse-node`."""

from evse_node.cli.main import main

if __name__ == "__main__":
    main()
