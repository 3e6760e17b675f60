// A reader as anybody would write it: onmessage, and a listener for the last events. Run by Node:
// node --experimental-eventsource event_source.mjs URL SECONDS [naive]      (naive never closes)
const [url, seconds, naive] = process.argv.slice(2);
const source = new EventSource(url);
const seen = { text: '', ids: [], opens: 0, errors: 0, end: null, data: null };
const finish = () => {
  console.log(JSON.stringify({ ...seen, state: source.readyState }));
  process.exit(0);
};
source.onopen = () => { seen.opens += 1; };
source.onerror = () => {
  seen.errors += 1;
  if (source.readyState === EventSource.CLOSED) finish();
};
source.onmessage = (event) => {
  seen.text += JSON.parse(event.data).text;
  seen.ids.push(event.lastEventId);
};
for (const name of ['done', 'failed', 'gone', 'stopped']) {
  source.addEventListener(name, (event) => {
    const data = JSON.parse(event.data);
    if (data.resumable) return;
    seen.end = name;
    seen.data = data;
    if (!naive) {
      source.close();
      finish();
    }
  });
}
setTimeout(finish, Number(seconds) * 1000);
