# ReFrame's description of one machine without a scheduler, for tools/reframe/galapagos_checks.py. A centre has its own.
site_configuration = {
    "systems": [
        {
            "name": "local",
            "descr": "this machine, Open MPI",
            "hostnames": [".*"],
            "partitions": [
                {
                    "name": "default",
                    "scheduler": "local",
                    "launcher": "mpirun",
                    "environs": ["builtin"],
                    "max_jobs": 1,
                }
            ],
        }
    ],
    "environments": [
        {"name": "builtin", "cc": "cc", "cxx": "c++", "ftn": "", "env_vars": [["OMP_NUM_THREADS", "1"]]}
    ],
    "general": [{"check_search_path": ["galapagos_checks.py"]}],
}
