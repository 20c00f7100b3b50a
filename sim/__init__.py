"""The laboratory: the code of `ftrepo` in virtual time, under outages and traffic.

One run is `run(scenario, policy)`; many are `experiment(scenario, policies)`. `python -m sim` does
both from the command line.
"""
