(function () {
  'use strict';
  // The lists of photos become tabs. Without this script they stand one below the other.
  document.querySelectorAll('.tabs').forEach(function (box) {
    var panels = Array.from(box.querySelectorAll('.panel'));
    if (panels.length === 1) return;
    var list = document.createElement('div');
    list.className = 'tablist';
    list.setAttribute('role', 'tablist');
    list.setAttribute('aria-label', box.getAttribute('aria-label'));
    box.removeAttribute('aria-label');
    var tabs = panels.map(function (panel) {
      var tab = document.createElement('button');
      tab.type = 'button';
      tab.id = panel.id + '-tab';
      tab.textContent = panel.querySelector('h3').textContent;
      tab.setAttribute('role', 'tab');
      tab.setAttribute('aria-controls', panel.id);
      panel.setAttribute('role', 'tabpanel');
      panel.setAttribute('aria-labelledby', tab.id);
      list.appendChild(tab);
      return tab;
    });
    function choose(chosen, focus) {
      tabs.forEach(function (tab, at) {
        tab.setAttribute('aria-selected', String(at === chosen));
        tab.tabIndex = at === chosen ? 0 : -1;
        panels[at].hidden = at !== chosen;
      });
      if (focus) tabs[chosen].focus();
    }
    tabs.forEach(function (tab, at) {
      tab.addEventListener('click', function () { choose(at, false); });
      tab.addEventListener('keydown', function (event) {
        var to = { ArrowRight: at + 1, ArrowLeft: at - 1 + tabs.length, Home: 0, End: tabs.length - 1 }[event.key];
        if (to === undefined) return;
        event.preventDefault();
        choose(to % tabs.length, true);
      });
    });
    box.insertBefore(list, panels[0]);
    box.classList.add('tabbed');
    choose(0, false);
  });
  // The photos of a cell get the focus when they open, and Escape closes them.
  window.addEventListener('hashchange', function () {
    var opened = document.querySelector('.opened:target');
    if (opened) opened.focus({ preventScroll: true });
  });
  document.addEventListener('keydown', function (event) {
    var opened = document.querySelector('.opened:target');
    if (event.key !== 'Escape' || !opened) return;
    var cell = document.querySelector('a[href="#' + opened.id + '"]');
    location.hash = '#matrix';
    if (cell) cell.focus();
  });
})();
