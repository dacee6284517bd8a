"""python -m shin_gateway.cli"""

from shin_gateway.cli import main

if __name__ == "__main__":
    main()
