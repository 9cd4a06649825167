"""Chat templates: the text of transformers' own renderer, the spans of answers, and bounds."""

from datetime import datetime
from typing import Any

import pytest

from limbeck.tasks.chat.template import MessageTemplate

# In the manner of those that models bring: each has a trait of its own.
TEMPLATES = {
    "chatml": """
{%- for message in messages %}
    {%- if loop.first and message.role != 'system' %}
        {{- '<|im_start|>system\nYou help.<|im_end|>\n' }}
    {%- endif %}
    {{- '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}""",
    "instruction": """{{ bos_token }}{% for message in messages %}
{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
{{ raise_exception('user and assistant take turns') }}
{% endif %}
{% if message['role'] == 'user' %}
{{ '[INST] ' + message['content'] + ' [/INST]' }}
{% else %}
{{ ' ' + message['content'] | trim + eos_token }}
{% endif %}
{% endfor %}""",
    "dated": """{{ '<|header|>system\n\nToday: ' + strftime_now('%d %b %Y') + '\n\n<|end|>' }}
{%- set ns = namespace(last=none) %}
{%- for m in messages if m.role in ('user', 'assistant') %}
    {%- set ns.last = m.role %}
    {{- '<|header|>' ~ m.role ~ '\n\n' ~ (m.content | trim) ~ '<|end|>' }}
{%- endfor %}
{%- if tools %}{{ tools | tojson(indent=2) }}{% endif %}
{%- if add_generation_prompt %}{{ '<|header|>assistant\n\n' }}{% endif %}""",
    # It writes what came before an answer's words in the last turn alone.
    "reasoning": """{% for m in messages %}
{{- '<s>' + m.role + ':' }}
{%- if m.role == 'assistant' and loop.last %}{{ '<think></think>' }}{% endif %}
{{- m.content + '</s>\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<s>assistant:' }}{% endif %}""",
    "marked": """{% for m in messages %}
{%- if m.role == 'assistant' %}
A: {% generation %}{{ m.content }}{{ eos_token }}{% endgeneration %}
{% else %}
Q: {{ m.content }}
{% endif %}
{% endfor %}""",
    "controls": """{%- for m in messages %}
    {%- if loop.index > 3 %}{% break %}{% endif %}
    {%- for line in m.content.split('\n') %}{{ line.strip() | upper }}|{% endfor %}
    {{- dict(role=m.role)['role'] }}{{ messages[loop.index0 - 1].role }}
{%- endfor %}""",
}
SPECIAL = {"bos_token": "<s>", "eos_token": "</s>"}
DAY = datetime(2024, 2, 29)
CONVERSATION = [
    {"role": "user", "content": "My parcel\nis late. <b>"},
    {"role": "assistant", "content": "Sorry! Which number? "},
    {"role": "user", "content": "Number? 7"},
    {"role": "assistant", "content": "Number?"},
]
ANSWERS = {
    "chatml": ["Sorry! Which number? <|im_end|>", "Number?<|im_end|>"],
    "instruction": [" Sorry! Which number?</s>", " Number?</s>"],
    "dated": ["Sorry! Which number?<|end|>", "Number?<|end|>"],
    "reasoning": ["Sorry! Which number? </s>", "<think></think>Number?</s>"],
    "marked": ["Sorry! Which number? </s>", "Number?</s>"],
}


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("add_generation_prompt", [False, True])
def test_the_text_is_that_of_transformers(name: str, add_generation_prompt: bool) -> None:
    utils = pytest.importorskip("transformers.utils.chat_template_utils")
    tools = [{"type": "function", "function": {"name": "é<"}}]
    for length in range(1, 5):
        messages = CONVERSATION[:length]
        expected, _ = utils.render_jinja_template(
            [messages],
            tools=tools,
            chat_template=TEMPLATES[name],
            add_generation_prompt=add_generation_prompt,
            **SPECIAL,
        )
        template = MessageTemplate(TEMPLATES[name], SPECIAL)
        text = template.render(messages, add_generation_prompt=add_generation_prompt, tools=tools)
        assert text == expected[0]


@pytest.mark.parametrize("name", ANSWERS)
def test_answers_are_found_with_the_token_that_ends_them(name: str) -> None:
    template = MessageTemplate(TEMPLATES[name], SPECIAL)
    rendered = template.render_answers(CONVERSATION)
    assert rendered.text == template.render(CONVERSATION)
    assert [rendered.text[start:end] for start, end in rendered.answers] == ANSWERS[name]


def test_marked_answers_are_those_of_transformers() -> None:
    utils = pytest.importorskip("transformers.utils.chat_template_utils")
    _, spans = utils.render_jinja_template(
        [CONVERSATION],
        chat_template=TEMPLATES["marked"],
        return_assistant_tokens_mask=True,
        **SPECIAL,
    )
    template = MessageTemplate(TEMPLATES["marked"], SPECIAL)
    assert list(template.render_answers(CONVERSATION).answers) == spans[0]


def test_an_answer_may_stand_first_and_be_empty() -> None:
    template = MessageTemplate(TEMPLATES["chatml"])
    messages = [{"role": "assistant", "content": "Hello"}, {"role": "assistant", "content": ""}]
    rendered = template.render_answers(messages)
    told = [rendered.text[start:end] for start, end in rendered.answers]
    assert told == ["Hello<|im_end|>", "<|im_end|>"]


def test_the_day_is_the_one_that_was_given() -> None:
    template = MessageTemplate(TEMPLATES["dated"], today=DAY)
    assert "Today: 29 Feb 2024" in template.render(CONVERSATION)


def test_contents_may_be_parts() -> None:
    text = (
        "{% for m in messages %}{% for part in m.content %}{{ part.text }}{% endfor %}!{% endfor %}"
    )
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    rendered = MessageTemplate(text).render_answers([{"role": "assistant", "content": parts}])
    assert rendered.text == "ab!" and rendered.answers == ((0, 3),)


def test_keys_without_a_value_are_left_out() -> None:
    text = "{{ messages[0].get('tool_calls', 'none') }}"
    messages = [{"role": "user", "content": "", "tool_calls": None}]
    assert MessageTemplate(text).render(messages) == "none"


@pytest.mark.parametrize(
    ("messages", "told"),
    [
        ("Hi", "messages: a list is needed, not a text"),
        ([], "at least one message"),
        (["Hi"], "message 1: an object with `role` and `content` is needed, not a text"),
        ([{"content": "Hi"}], "message 1: `role` is needed"),
        ([{"role": "user", "content": {1}}], "JSON's own types are needed, not set"),
        (CONVERSATION[1:], "refuses these messages: user and assistant take turns"),
        ([{"role": "user", "content": 3}], "fails on these messages: TypeError"),
        ([{"role": "user"}], "has no attribute 'content'"),
    ],
)
def test_messages_that_do_not_fit_are_told(messages: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        MessageTemplate(TEMPLATES["instruction"], SPECIAL).render(messages)


def test_an_answer_that_changes_with_what_follows_is_refused() -> None:
    text = "{% for m in messages %}{{ m.content if loop.last else '-' }}{% endfor %}"
    with pytest.raises(ValueError, match=r"message 2: .* cannot be found"):
        MessageTemplate(text).render_answers(CONVERSATION)


@pytest.mark.parametrize(
    ("template", "told"),
    [
        ("{% for", "line 1: unexpected"),
        ("x" * 200_001, "at most 200,000 are read"),
        ("{% for i in range(9999) %}{% for j in range(9999) %}{% endfor %}{% endfor %}", "steps"),
        ("{% set n = namespace(s='ab') %}{% for i in range(40) %}{% set n.s = n.s ~ n.s %}{% endfor %}", "characters"),
        ("{% set n = namespace(s='ab') %}{% for i in range(40) %}{% set n.s = n.s + n.s %}{% endfor %}", "characters"),
        ("{% for i in range(9999) %}{{ 'x' * 9999 }}{% endfor %}", "characters"),
        ("{{ 'a' * 10 ** 10 }}", "at most 10000"),
        ("{{ [1] * 99999 }}", "at most 10000"),
        ("{{ 9 ** 9999 }}", "to the power of 9999"),
        ("{{ 'a'.ljust(99999999) }}", "`ljust` is called with the number"),
        ("{{ 'a' | center(width=99999999) }}", "`center` is called with the number"),
        ("{{ '%99999999d' % 5 }}", "a width of more than"),
        ("{{ '%99999999d' | format(5) }}", "a width of more than"),
        ("{{ '{:99999999}'.format(5) }}", "a width of more than"),
        ("{{ ('a' * 9999 * 99).replace('a', 'b' * 9999) }}", "too long together"),
        ("{{ ('a' * 9999 * 99) | replace('a', 'b' * 9999) }}", "too long together"),
        ("{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}", "without end"),
        ("{{ messages.__class__.__mro__ }}", "unsafe"),
        ("{{ messages.append(1) }}", "unsafe"),
        ("{{ namespace(_Namespace__attrs=1) }}", "underscore"),
        ("{{ lipsum(9) }}", "undefined"),
        ("{{ 1 / 0 }}", "ZeroDivisionError"),
    ],
)  # fmt: skip
def test_templates_that_are_wrong_or_without_bounds_are_refused(template: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        MessageTemplate(template).render(CONVERSATION)
