"""What every view of the console is built with, in a real browser."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.consoles import console

pytestmark = pytest.mark.component

LISTS = """
(async () => {
    const { h, list } = await import('/console/dom.js');
    let seed = 7;
    const random = (below) => { seed = (seed * 1103515245 + 12345) % 2147483648; return seed % below; };
    const parent = h('ul');
    let items = [];
    for (let round = 0; round < 300; round += 1) {
        const before = new Map([...parent.children].map((element) => [element.id, element]));
        const known = new Map(items.map((item) => [item.key, item]));
        const all = Array.from({ length: 12 }, (_, key) => `k${key}`);
        const keys = all.filter(() => random(3)).sort(() => random(3) - 1);
        // Some are other objects by now, the rest stay.
        items = keys.map((key) => (known.has(key) && random(4) ? known.get(key) : { key }));
        list(parent, items, ({ key }) => key, ({ key }) => h('li', { id: key }, key));
        const shown = [...parent.children];
        if (shown.map(({ id }) => id).join() !== keys.join()) return `round ${round}: not ${keys}`;
        for (const item of items) {
            const kept = before.get(item.key) === parent.querySelector(`#${item.key}`);
            if (kept !== (known.get(item.key) === item)) return `round ${round}: ${item.key} ${kept}`;
        }
    }
    return 'as it should';
})()
"""
ELEMENTS = r"""
(async () => {
    const { h, put, safe, say } = await import('/console/dom.js');
    const refused = (name) => { try { h('p', { [name]: 'x' }); return false; } catch { return true; } };
    const given = { hidden: true, title: null, lang: false, 'data-x': 0 };
    const shown = h('p', given, 'a', null, ['<b>', false], undefined, 7, h('i'));
    const bad = ['javascript:alert(1)', ' JavaScript:alert(1)', 'java\nscript:x', 'data:text/html,x', 'vbscript:x', 'http://['];
    const links = bad.map((href) => h('a', { href }).hasAttribute('href'));
    const good = ['#/live', 'https://grafana.example/d/1', '/audit?q=x'].map(safe);
    const text = h('p', {}, 'same').firstChild;
    say(text.parentElement, 'same');
    put(shown.lastChild, '');
    const turned = h('p', {}, 'a\u202ecba');
    say(turned, `${turned.textContent}\u2066`);
    const handlers = ['onclick', 'onload', 'style'].map(refused);
    return [turned.textContent, shown.outerHTML, handlers, links, good, text.parentElement !== null];
})()
"""


def test_lists_and_elements(tmp_path: Path) -> None:
    """A list has its items in their order and keeps what stays; text is text, and nothing in it turns the rest
    around; no attribute runs or styles, and a link leads to the web or nowhere.
    """
    with console(tmp_path) as here, here.running():
        here.look()
        assert here.page.ask(LISTS) == "as it should"
        turned, html, refused, bad, good, kept = here.page.ask(ELEMENTS)
        assert turned == r"a\u202ecba\u2066"
        assert html == '<p hidden="" data-x="0">a&lt;b&gt;7<i></i></p>'
        assert refused == [True, True, True]
        assert bad == [False] * 6
        assert good == [True] * 3
        assert kept is True
        assert here.page.complaints == []
