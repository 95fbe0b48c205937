"""`python -m hybridmodel`."""

from hybridmodel.cli import main

if __name__ == "__main__":
    main()
