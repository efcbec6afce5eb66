"""Settlement: what a finished task pays, to whom, by the formula that the institutions voted for.

Expects of points: escrows; of grants: prices; of tasks: who took part. Invariants: the four shares are basis points
that add up to 10,000; what is paid and refunded of a task adds up to the prices of its grants, to the point; points
that are frozen by a dispute are not paid until it has ended; a settlement is paid once.

Status: held -> paid; held -> frozen -> paid. With a window of no blocks it is paid at once.
"""
