(function () {
  'use strict';
  const page = document.body, find = id => document.getElementById(id);
  const answers = find('answers'), input = find('files'), trouble = find('trouble');
  const MOST = 30, TOGETHER = 4, CHIPS = { training: 'good', finished: 'good', stopping: 'fair', stopped: 'fair' };

  // An element with its content. Text stays text, whatever is in it.
  function make(tag, attributes, ...content) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) element.setAttribute(name, value);
    element.append(...content);
    return element;
  }
  const percent = share => (share * 100).toFixed(1) + ' %';
  function complain(text) {
    trouble.textContent = text;
    trouble.hidden = !text;
  }
  async function ask(address, options) {
    let reply;
    try {
      reply = await fetch(address, options);
    } catch (error) {
      throw new Error('the server cannot be reached');
    }
    const said = await reply.json();
    if (!reply.ok) throw new Error(said.error.message);
    return said;
  }

  function classesOf(answer) {
    const rows = answer.classes.slice(0, 5).map(({ class: name, probability }) => {
      const fill = make('span', { class: 'fill' });
      fill.style.width = percent(probability).replace(' ', '');
      return make('tr', {}, make('td', {}, name), make('td', { 'aria-hidden': 'true' }, make('span', { class: 'bar' }, fill)),
        make('td', { class: 'number' }, percent(probability)));
    });
    return make('table', { class: 'classes' }, make('tbody', {}, ...rows));
  }

  function neighboursOf(answer) {
    const near = (answer.neighbours || []).map(({ path, label, similarity }) => {
      const picture = make('img', { src: '/photo?path=' + encodeURIComponent(path), alt: path, title: path, loading: 'lazy' });
      picture.addEventListener('error', () => picture.replaceWith(make('div', { class: 'gone' }, 'no picture')));
      return make('figure', {}, picture, make('figcaption', {}, make('b', {}, label), ' ' + similarity.toFixed(3)));
    });
    return near.length ? [make('p', { class: 'muted name' }, 'The training photos that resemble it most:'), make('div', { class: 'similar' }, ...near)] : [];
  }

  // What is wrong can be said once; saying it again puts another class in its place.
  function correctionOf(file, answer) {
    if (!('changes' in page.dataset)) return [];
    const chosen = make('select', { 'aria-label': 'The class that the photo shows' });
    const send = make('button', { type: 'button' }, 'Keep it as this class');
    const said = make('span', { class: 'muted', role: 'status' });
    const details = make('details', {}, make('summary', {}, 'This is wrong'), make('div', { class: 'correct' }, chosen, send, said));
    details.addEventListener('toggle', () => {
      if (chosen.options.length) return;
      chosen.append(find('classes').content.cloneNode(true));
      const second = answer.classes[1] || answer.classes[0];
      chosen.value = second.class;
    });
    send.addEventListener('click', async () => {
      send.disabled = true;
      try {
        const query = new URLSearchParams({ class: chosen.value, name: file.name });
        const kept = await ask('/corrections?' + query, { method: 'POST', body: file, headers: { 'content-type': file.type || 'application/octet-stream' } });
        said.textContent = 'kept as ' + chosen.value;
        find('count').textContent = kept.collected;
        find('collected').hidden = false;
      } catch (error) {
        said.textContent = error.message;
      }
      send.disabled = false;
    });
    return [details];
  }

  function show(item, file, answer, milliseconds) {
    const [first] = answer.classes;
    const chips = [];
    if (answer.unknown) {
      chips.push(make('span', { class: 'chip bad' }, 'unknown'));
    } else if (answer.answer === null) {
      chips.push(make('span', { class: 'chip fair' }, 'unsure'));
    }
    // Where photos may have several classes, those that reach their thresholds are the answer.
    const said = answer.labels ? answer.labels.join(', ') || 'nothing' : first.class + ' ' + percent(first.probability);
    const words = make('div', {}, make('h3', {}, answer.unknown ? 'Unlike the training photos' : said, ' ', ...chips),
      make('p', { class: 'muted name' }, file.name + ', ' + milliseconds + ' ms'));
    if (answer.unknown) words.append(make('p', {}, 'Among the classes that it knows, ' + said + '.'));
    words.append(classesOf(answer), ...neighboursOf(answer), ...correctionOf(file, answer));
    item.querySelector('.waits').replaceWith(words);
    if (answer.heatmap) {
      const { class: name, picture, seen, exif_orientation: orientation } = answer.heatmap;
      // The photo is shown as the network saw it, which may not be as the camera was held.
      if (orientation === 'ignore') item.querySelector('.under img').style.imageOrientation = 'none';
      const heat = make('img', { class: 'heat', src: picture, alt: 'what speaks for ' + name });
      ['top', 'left', 'height', 'width'].forEach((side, at) => { heat.style[side] = seen[at] * 100 + '%'; });
      const toggle = make('button', { type: 'button', 'aria-pressed': 'true' }, 'Where it looked');
      toggle.addEventListener('click', () => toggle.setAttribute('aria-pressed', String(!heat.classList.toggle('off'))));
      item.querySelector('.under').append(heat);
      item.querySelector('.shown').append(toggle);
    }
  }

  const waiting = [];
  let running = 0;
  async function next() {
    if (running === TOGETHER || !waiting.length) return;
    const [item, file] = waiting.shift();
    running += 1;
    try {
      const query = new URLSearchParams({ name: file.name, top: 5, heatmap: true });
      if ('knows' in page.dataset) query.set('neighbours', 5);
      const said = await ask('/predict?' + query, { method: 'POST', body: file, headers: { 'content-type': file.type.startsWith('image/') ? file.type : 'application/octet-stream' } });
      show(item, file, said.answers[0], said.milliseconds);
    } catch (error) {
      item.querySelector('.waits').replaceWith(make('p', { class: 'bad' }, file.name + ': ' + error.message));
    }
    running -= 1;
    next();
  }

  function take(files) {
    complain('');
    if (!('ready' in page.dataset)) return complain('No epoch is finished yet, so there is no network to ask. Try again after the first.');
    for (const file of files) {
      const address = URL.createObjectURL(file), picture = make('img', { src: address, alt: file.name });
      picture.addEventListener('error', () => picture.closest('.shown').replaceChildren());
      const item = make('li', { class: 'answer' }, make('div', { class: 'shown' }, make('div', { class: 'under' }, picture)), make('p', { class: 'waits muted' }, '…'));
      item.dataset.address = address;
      answers.prepend(item);
      waiting.push([item, file]);
      next();
    }
    while (answers.children.length > MOST) {
      URL.revokeObjectURL(answers.lastChild.dataset.address);
      answers.lastChild.remove();
    }
  }

  input.addEventListener('change', () => {
    take(input.files);
    input.value = '';
  });
  addEventListener('paste', event => take(event.clipboardData.files));
  addEventListener('dragover', event => {
    event.preventDefault();
    page.classList.add('over');
  });
  addEventListener('dragleave', event => event.relatedTarget || page.classList.remove('over'));
  addEventListener('drop', event => {
    event.preventDefault();
    page.classList.remove('over');
    take(event.dataTransfer.files);
  });
  find('drop').addEventListener('submit', event => event.preventDefault());

  const stop = find('stop');
  if (stop) {
    find('stop-now').addEventListener('click', async event => {
      event.target.disabled = true;
      try {
        await ask('/stop', { method: 'POST', body: '{}', headers: { 'content-type': 'application/json' } });
        find('words').textContent = 'stopping after this batch; every finished epoch is kept';
      } catch (error) {
        find('words').textContent = error.message;
        event.target.disabled = false;
      }
    });
  }

  // The server sends the run as it stands whenever it has changed. What it sends was escaped there.
  function follow({ state, words, html, classes, knows }) {
    find('words').textContent = words;
    Object.assign(find('state'), { textContent: state, className: 'chip ' + (CHIPS[state] || 'plain') });
    find('live').innerHTML = html;
    if (stop) {
      stop.hidden = state !== 'training';
      find('stop-now').disabled = false;
    }
    classes ? page.dataset.ready = '' : delete page.dataset.ready;
    knows ? page.dataset.knows = '' : delete page.dataset.knows;
    find('classes').content.replaceChildren(...(classes || []).map(name => make('option', {}, name)));
  }
  if ('run' in page.dataset) {
    const events = new EventSource('/events');
    events.addEventListener('run', event => follow(JSON.parse(event.data)));
    events.addEventListener('error', () => {
      if (events.readyState === EventSource.CLOSED) find('words').textContent = 'the server has ended';
    });
  }
})();
