"""The text of a model card, for jinja."""

CARD = """---
{{ card_data }}
---

# {{ title }}

A vision-language model that was taught when to answer and when to refuse. Base: {{ base }}. Recipe: {{ purpose }}.

## Data

Source `{{ source }}`.
{% if images %}
Images by split: {{ images }}.{% endif %}{% if left_out %} Questions left out: {{ left_out }}.{% endif %}
{% if labels %}
Questions of the training split by boundary label: {{ labels }}.{% endif %}{% if examples %} SFT examples: {{ examples }}.{% endif %}
{% if pairs %}
Preference pairs: {{ pairs }}.
{% endif %}
## Method

{% for line in method %}- {{ line }}
{% endfor %}
InBoL (arXiv 2412.11196) is the outline; the equation of its confidence-aware loss was not available, so none of the forms marked as this
project's own is claimed to be the paper's.

## Settings

| setting | value |
| --- | --- |
{% for key, value in settings %}| `{{ key }}` | `{{ value }}` |
{% endfor %}
## Metrics

{% if metrics %}On the split `{{ split }}` of the same source. Intervals: {{ interval }}.
T0 = right - wrong on answerable questions; T1 = (T0 + 2 RefR - 1 beyond the image) / 2; RefR: share refused; over-refusal: share refused
although the base is sure (c >= .8), or has it right.

| metric | value | 95 % interval | n |
| --- | ---: | --- | ---: |
{% for name, value, interval, n in metrics %}| {{ name }} | {{ value }} | {{ interval }} | {{ n }} |
{% endfor %}{% if held_out %}
Kinds of questions beyond the image that training never met: {{ held_out }}.
{% endif %}{% else %}No score of this model is there yet.
{% endif %}
## Limits

- What it refuses was learnt from one base's mistakes on one source: on other images and wordings it may refuse what it knows and answer
  what it does not.
- A refusal is a wording, not a calibrated probability, and no safety measure.
- Responses are short answers in English.
{% if source == "vqav2-idk" %}- Whether a question of VQAv2-IDK can be answered is noisy: its refusal metrics are those of that label.
{% endif %}
## Licence of the data

{{ licence }} The licence of the base holds for the weights; none is stated here.

## Provenance

- run `{{ run }}`, stage fingerprint `{{ fingerprint }}`, made from {{ chain }}
- code {{ revision }}; {{ packages }}
{% for name, sha in weights %}- `{{ name }}` sha256 {{ sha }}
{% endfor %}"""
"""Filled by `card.sections`; `card_data` is the front matter."""
