"""Decoding below trees: transformers' own `generate` is the oracle of greedy decoding, teacher forcing that of log-probabilities."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
import toy
from torch import Tensor
from transformers import LlavaForConditionalGeneration

from inbol.models.generate import Decoded, decode_trees, draw, uniforms
from inbol.models.tree import Branch, Tree, TreeBatch, TreeCollator

ASKED = [("red", toy.WHAT), ("red", toy.WHO), ("red", "is the image blue?"), ("gray", toy.WHO), ("blue", toy.WHAT), ("blue", toy.WHO)]
"""(image, question), three trees in this order."""
NEW_TOKENS = 7


@pytest.fixture(scope="module")
def model() -> LlavaForConditionalGeneration:
    """With an output matrix of its own: tied to the input, a random model repeats one token for ever."""
    made = toy.model(3, scale=6.0)
    made.lm_head.weight = torch.nn.Parameter(0.4 * torch.randn(made.lm_head.weight.shape, generator=torch.Generator().manual_seed(0)))
    return made


def questions(asked: list[tuple[str, str]]) -> TreeBatch:
    """One tree per image, in order of first appearance."""
    trees = [
        Tree(toy.image(color), tuple(Branch(question) for name, question in asked if name == color))
        for color in dict.fromkeys(color for color, _ in asked)
    ]
    return TreeCollator(toy.processor())(trees)


def flat(decoded: list[list[Decoded]]) -> list[Decoded]:
    return [answer for tree in decoded for answer in tree]


def prompt(color: str, question: str) -> dict[str, Tensor]:
    return toy.processor()(text=[toy.conversation(question)], images=[toy.image(color)], add_special_tokens=False, return_tensors="pt")


def transformers_greedy(model: LlavaForConditionalGeneration, eos_token_id: int) -> list[list[int]]:
    answers = []
    for color, question in ASKED:
        inputs = prompt(color, question)
        ids = model.generate(**inputs, do_sample=False, max_new_tokens=NEW_TOKENS, eos_token_id=eos_token_id)
        answers.append(ids[0, inputs["input_ids"].shape[1] :].tolist())
    return answers


@torch.no_grad()
def teacher_forced(model: LlavaForConditionalGeneration, color: str, question: str, ids: list[int]) -> float:
    inputs = prompt(color, question)
    start = inputs["input_ids"].shape[1]
    whole = torch.cat([inputs["input_ids"], torch.tensor([ids])], dim=1)
    logits = model(input_ids=whole, attention_mask=torch.ones_like(whole), pixel_values=inputs["pixel_values"]).logits[0].float()
    return float(logits[start - 1 : -1].log_softmax(-1).gather(1, torch.tensor(ids)[:, None]).sum())


def sampled(model: LlavaForConditionalGeneration, asked: list[tuple[str, str]], eos: int, samples: int, **how: float) -> list[Decoded]:
    random = [uniforms(5, f"{color}/{question}", samples, NEW_TOKENS) for color, question in asked]
    return flat(decode_trees(model, questions(asked), eos_token_id=eos, max_new_tokens=NEW_TOKENS, random=random, **how))


def test_greedy_equals_transformers_generate(model: LlavaForConditionalGeneration) -> None:
    """Once with the tokenizer's end-of-sequence, once with a token that some answers do reach and others do not."""
    eos = toy.processor().tokenizer.eos_token_id
    expected = transformers_greedy(model, eos)
    answers = flat(decode_trees(model, questions(ASKED), eos_token_id=eos, max_new_tokens=NEW_TOKENS))
    assert [answer.ids for answer in answers] == [[ids] for ids in expected]
    assert len({tuple(ids) for ids in expected}) == len(ASKED), "the questions must not have one answer"
    assert all(len(set(ids)) > 2 for ids in expected)

    lengths: set[int] = set()
    for stop in {ids[2] for ids in expected}:
        expected_at_stop = transformers_greedy(model, stop)
        answers = flat(decode_trees(model, questions(ASKED), eos_token_id=stop, max_new_tokens=NEW_TOKENS))
        assert [answer.ids for answer in answers] == [[ids] for ids in expected_at_stop]
        lengths |= {len(ids) for ids in expected_at_stop}
    assert len(lengths) > 1
    assert NEW_TOKENS in lengths


def test_log_probabilities_equal_teacher_forced_ones(model: LlavaForConditionalGeneration) -> None:
    """Greedy and sampled (also at another temperature: the reported log-probability is always the one at 1), end-of-sequence included."""
    stop = sampled(model, ASKED[:1], -1, 1)[0].ids[0][2]
    greedy = flat(decode_trees(model, questions(ASKED), eos_token_id=stop, max_new_tokens=NEW_TOKENS))
    warm = sampled(model, ASKED, stop, 4)
    cool = sampled(model, ASKED, stop, 2, temperature=0.5, top_p=0.9)
    compared, ended = 0, 0
    for answers in (greedy, warm, cool):
        assert len(answers) == len(ASKED)
        for (color, question), answer in zip(ASKED, answers, strict=True):
            for ids, logprob in zip(answer.ids, answer.logprobs, strict=True):
                assert logprob == pytest.approx(teacher_forced(model, color, question, ids), abs=2e-5)
                assert stop not in ids[:-1]
                ended += ids[-1] == stop
                compared += 1
    assert compared == 7 * len(ASKED)
    assert 0 < ended < compared


def test_draws_do_not_depend_on_what_else_is_decoded(model: LlavaForConditionalGeneration) -> None:
    """Every question alone, all together, and all in another order: the same samples."""
    eos = toy.processor().tokenizer.eos_token_id
    together = dict(zip(ASKED, sampled(model, ASKED, eos, 5), strict=True))
    turned = [*ASKED[4:], *ASKED[:3], ASKED[3]]
    in_turn = dict(zip(turned, sampled(model, turned, eos, 5), strict=True))
    for asked in ASKED:
        alone = sampled(model, [asked], eos, 5)[0]
        assert alone.ids == together[asked].ids == in_turn[asked].ids
        assert len({tuple(ids) for ids in alone.ids}) > 1
        assert alone.logprobs == pytest.approx(together[asked].logprobs, abs=2e-5)


def test_first_tokens_have_the_models_frequencies(model: LlavaForConditionalGeneration) -> None:
    """4000 samples of one token: every token's count within 4.5 standard deviations of N p; the tokens below N p = 20 as one."""
    n, (color, question) = 4000, ASKED[0]
    with torch.no_grad():
        p = model(**prompt(color, question)).logits[0, -1].double().softmax(-1)
    random = [uniforms(11, "frequencies", n, 1)]
    answer = flat(decode_trees(model, questions([(color, question)]), eos_token_id=-1, max_new_tokens=1, random=random))[0]
    counts = torch.bincount(torch.tensor(answer.ids).flatten(), minlength=len(p)).double()
    frequent = n * p > 20
    expected = torch.cat([p[frequent], p[~frequent].sum()[None]])
    found = torch.cat([counts[frequent], counts[~frequent].sum()[None]])
    assert int(frequent.sum()) > 3
    assert int(found.sum()) == n
    assert bool(((found - n * expected).abs() < 4.5 * (n * expected * (1 - expected)).sqrt()).all())


def draws(probabilities: list[float], u: list[float], *, temperature: float = 1.0, top_p: float = 1.0) -> list[int]:
    logits = torch.tensor([[math.log(p) if p else -math.inf for p in probabilities]], dtype=torch.float64)
    return draw(logits.expand(len(u), -1), torch.tensor(u, dtype=torch.float64), temperature=temperature, top_p=top_p).tolist()


def test_draw_inverts_the_cumulative_distribution() -> None:
    """1/4, 1/4, 1/2: token 0 below .25, token 1 below .5, then token 2. A token of probability 0 is never drawn."""
    assert draws([0.25, 0.25, 0.5], [0.0, 0.2499999, 0.2500001, 0.4999999, 0.5000001, 1 - 2**-53]) == [0, 0, 1, 1, 2, 2]
    assert draws([0.0, 0.5, 0.0, 0.5], [0.0, 0.4999999, 0.5000001, 1 - 2**-53]) == [1, 1, 3, 3]


def test_draw_at_a_boundary_takes_the_next_token() -> None:
    """Four equal logits: the cumulative distribution is exactly 1/4, 1/2, 3/4, 1, and u lies in [F(k-1), F(k))."""
    assert draw(torch.zeros(4, 4), torch.tensor([0.0, 0.25, 0.5, 0.75]), temperature=1.0, top_p=1.0).tolist() == [0, 1, 2, 3]


def test_temperature_worked_by_hand() -> None:
    """1/3, 2/3 at temperature 1/2 are squared: 1/9 against 4/9, so 1/5 and 4/5. At temperature 2: 1 against sqrt(2), so .4142 and .5858."""
    assert draws([1 / 3, 2 / 3], [0.19, 0.21, 0.34], temperature=0.5) == [0, 1, 1]
    assert draws([1 / 3, 2 / 3], [0.41, 0.42], temperature=2.0) == [0, 1]


def test_top_p_worked_by_hand() -> None:
    """.125, .5, .25, .125: mass .75 is reached by tokens 1 and 2, which become 2/3 and 1/3; .76 needs one more; .5 is token 1 alone."""
    p = [0.125, 0.5, 0.25, 0.125]
    assert draws(p, [0.0, 0.66, 0.67, 1 - 2**-53], top_p=0.75) == [1, 1, 2, 2]
    assert len(set(draws(p, [n / 64 for n in range(64)], top_p=0.76))) == 3
    assert draws(p, [0.0, 0.5, 1 - 2**-53], top_p=0.5) == [1, 1, 1]
    assert draws(p, [0.0, 0.5, 1 - 2**-53], top_p=1e-9) == [1, 1, 1], "the likeliest token is always kept"


def test_uniforms_belong_to_seed_and_question() -> None:
    numbers = uniforms(1, "img-q00", 6, 8)
    assert numbers.shape == (6, 8)
    assert 0 <= numbers.min() < numbers.max() < 1
    assert np.array_equal(numbers, uniforms(1, "img-q00", 6, 8))
    assert np.array_equal(numbers[:2], uniforms(1, "img-q00", 2, 8)), "more samples keep the earlier ones"
    assert not np.array_equal(numbers, uniforms(2, "img-q00", 6, 8))
    assert not np.array_equal(numbers, uniforms(1, "img-q01", 6, 8))


def test_equal_prefixes_are_fed_once(model: LlavaForConditionalGeneration) -> None:
    """Five samples that draw the same tokens cost one row a step: the model sees a width of 1, not of 5."""
    widths: list[int] = []
    hook = model.register_forward_pre_hook(lambda _, args, kwargs: widths.append(kwargs["input_ids"].shape[1]), with_kwargs=True)
    try:
        same = np.repeat(uniforms(0, "same", 1, 4), 5, axis=0)
        answer = flat(decode_trees(model, questions(ASKED[:1]), eos_token_id=-1, max_new_tokens=4, random=[same]))[0]
    finally:
        hook.remove()
    assert widths[1:] == [1, 1, 1]
    assert len({tuple(ids) for ids in answer.ids}) == 1


def test_enough_drops_the_other_samples_and_changes_none(model: LlavaForConditionalGeneration) -> None:
    """Ten samples a question; a question has enough once three have ended. Every question alone keeps the same ones, by value and in order,
    and a question that never has enough keeps all."""
    stop = sampled(model, ASKED[:1], -1, 1)[0].ids[0][2]
    every = sampled(model, ASKED, stop, 10)
    asked: list[tuple[int, int]] = []

    def enough(branch: int, ended: list[list[int]]) -> bool:
        assert all(ids[-1] == stop or len(ids) == NEW_TOKENS for ids in ended)
        asked.append((branch, len(ended)))
        return branch != 3 and len(ended) >= 3

    def three(question: list[tuple[str, str]], **how: Any) -> list[Decoded]:
        random = [uniforms(5, f"{color}/{text}", 10, NEW_TOKENS) for color, text in question]
        return flat(decode_trees(model, questions(question), eos_token_id=stop, max_new_tokens=NEW_TOKENS, random=random, **how))

    some = three(ASKED, enough=enough)
    fewer = 0
    for number, (whole, part) in enumerate(zip(every, some, strict=True)):
        lengths = sorted(len(ids) for ids in whole.ids)
        last = lengths[-1] if number == 3 else lengths[2]  # those that ended by the step at which the third did
        expected = [(ids, logprob) for ids, logprob in zip(whole.ids, whole.logprobs, strict=True) if len(ids) <= last]
        assert part.ids == [ids for ids, _ in expected]
        assert part.logprobs == pytest.approx([logprob for _, logprob in expected], abs=2e-5)
        fewer += len(part.ids) < 10
        if number != 3:
            assert three([ASKED[number]], enough=lambda _, ended: len(ended) >= 3)[0].ids == part.ids
    assert fewer > 1
    assert len(some[3].ids) == 10
    per_branch = [[n for branch, n in asked if branch == number] for number in range(len(ASKED))]
    assert all(counts == sorted(set(counts)) for counts in per_branch), "asked only when more have ended"


def test_rows_without_a_live_sample_leave_the_batch(model: LlavaForConditionalGeneration) -> None:
    """Three trees; two have enough when the first of their samples ends, the third goes on alone, with the samples that it draws alone."""
    asked = [("red", toy.WHAT), ("blue", toy.WHAT), ("gray", toy.WHO)]
    random = [uniforms(5, f"{color}/{text}", 20, NEW_TOKENS) for color, text in asked]
    said = [{token for ids in answer.ids for token in ids[:-2]} for answer in sampled(model, asked, -1, 20)]
    stop = min(said[0] & said[1] - said[2])
    rows: list[int] = []
    hook = model.register_forward_pre_hook(lambda _, args, kwargs: rows.append(kwargs["input_ids"].shape[0]), with_kwargs=True)
    how: dict[str, Any] = {"eos_token_id": stop, "max_new_tokens": NEW_TOKENS}
    try:
        together = flat(decode_trees(model, questions(asked), random=random, enough=lambda branch, _: branch < 2, **how))
    finally:
        hook.remove()
    alone = flat(decode_trees(model, questions(asked[2:]), random=random[2:], **how))[0]
    assert rows[0] == 3 and rows[-1] == 1
    assert together[2].ids == alone.ids
    assert together[2].logprobs == pytest.approx(alone.logprobs, abs=2e-5)
