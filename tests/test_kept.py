"""Values at points are computed once for as long as the points stand still."""

import copy

import torch

from sciml.kept import Kept


def counted():
    calls = []
    return calls, lambda X: (lambda: calls.append(1) or X.sum())


def test_the_same_points_and_views_of_them_are_known_again():
    kept, (calls, make) = Kept(), counted()
    X = torch.rand(10, 2)
    assert kept((X,), make(X)) is kept((X,), make(X)) and len(calls) == 1
    assert kept((X[2:5],), make(X[2:5])) is kept((X[2:5],), make(X[2:5])) and len(calls) == 2
    kept((X,), make(X), "gradient")
    assert len(calls) == 3


def test_points_that_were_written_to_are_other_points():
    kept, (calls, make) = Kept(), counted()
    X = torch.rand(10, 2)
    kept((X,), make(X))
    X.add_(1.0)
    assert torch.equal(kept((X,), make(X)), X.sum()) and len(calls) == 2


def test_the_longest_unused_go_first_when_there_are_too_many_points():
    kept, (calls, make) = Kept(total=25), counted()
    A, B, C = (torch.rand(10, 1) for _ in range(3))
    for X in (A, B, A, C):
        kept((X,), make(X))                                  # B goes
    assert len(calls) == 3 and len(kept) == 2 and kept.size == 20
    kept((A,), make(A))
    assert len(calls) == 3
    kept((B,), make(B))
    assert len(calls) == 4


def test_many_small_pieces_are_kept_as_long_as_their_points_are_few():
    kept, (calls, make) = Kept(total=1000), counted()
    X = torch.rand(1000, 1)
    for _ in range(2):
        for piece in X.split(5):
            kept((piece,), make(piece))
    assert len(calls) == 200


def test_what_cannot_be_told_again_is_not_kept():
    kept, (calls, make) = Kept(largest=5), counted()
    X = torch.rand(10, 2)
    kept((X,), make(X))
    Y = torch.rand(3, 2, requires_grad=True)
    kept((Y,), make(Y))
    torch.func.vmap(lambda x: kept((x[None],), make(x)))(torch.rand(4, 2))
    with torch.inference_mode():
        kept((torch.rand(3, 2),), make(torch.zeros(1)))
    assert len(kept) == 0 and len(calls) == 4


def test_a_copy_starts_empty():
    kept = Kept()
    X = torch.rand(3, 1)
    kept((X,), lambda: 1)
    assert len(copy.deepcopy(kept)) == 0 and len(kept) == 1
