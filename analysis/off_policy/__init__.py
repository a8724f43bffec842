"""Off-policy evaluation: what a policy would have earned, judged by a log of another one's decisions.

Notation. Row i of a log has the action a_i that was shown, its reward r_i, and the probability p_i with which the
logging policy showed it. The evaluated policy gives action a the probability pi(a | i). Its weight is
w_i = pi(a_i | i) / p_i; q(i, a) is a model of the reward.
"""
