"""`python -m launch`, from the root of the repository."""

from launch.main import main

raise SystemExit(main())
