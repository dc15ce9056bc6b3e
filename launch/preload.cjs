// Exeat's preload for Node: brings http, https and fetch through the proxy that
// HTTPS_PROXY names, with its credential. Loaded by NODE_OPTIONS=--require.
//
// Covered: every http.Agent and https.Agent that doesn't make its own sockets,
// whoever built it, and fetch (also that of the undici package, unless it is
// given a dispatcher). Not covered, since they never ask an Agent: net.connect
// and tls.connect called directly, http2.connect, requests with a
// createConnection of their own (the ws package), explicit undici dispatchers.
//
// Rules of this file: nothing is ever written to standard output, which belongs
// to MCP; an error in here never stops a server; the syntax is that of Node 10,
// since a syntax error would stop one.
'use strict';

(function exeat() {
  const loaded = Symbol.for('exeat.preload');
  if (globalThis[loaded]) return;
  Object.defineProperty(globalThis, loaded, { value: true });

  const env = process.env;
  const address = env.HTTPS_PROXY || env.https_proxy;
  if (!address) return;

  const http = require('http');
  const https = require('https');
  const net = require('net');
  const tls = require('tls');
  const { Duplex } = require('stream');
  const { URL } = require('url');

  // The proxy may hold a connection while a person decides. This only bounds a
  // proxy that never answers.
  const tunnelTimeout = 60 * 1000;
  const maxHead = 16 * 1024;
  const plain = Symbol('exeat.plain');

  function complain(err) {
    try {
      require('fs').writeSync(2, 'exeat: preload: ' + String(err && err.message || err).replace(/\s+/g, ' ') + '\n');
    } catch (_) { /* standard error is gone: nobody to tell */ }
  }

  let proxy;
  try {
    proxy = parse(address);
    patchAgents();
    if (!nativeFetch()) patchFetch();
  } catch (err) {
    complain(err);
  }

  function parse(text) {
    const url = new URL(text);
    if (url.protocol !== 'http:' && url.protocol !== 'https:') {
      throw new Error('HTTPS_PROXY has the scheme ' + url.protocol);
    }
    const secure = url.protocol === 'https:';
    const user = decodeURIComponent(url.username) + ':' + decodeURIComponent(url.password);
    return {
      secure: secure,
      host: bare(url.hostname),
      port: Number(url.port) || (secure ? 443 : 80),
      authorization: url.username ? 'Basic ' + Buffer.from(user).toString('base64') : '',
    };
  }

  // bare takes the brackets off an IPv6 address.
  function bare(host) {
    return host.replace(/^\[(.*)\]$/, '$1').toLowerCase();
  }

  // isDirect says whether a destination is not the proxy's business: loopback,
  // and the proxy itself, to which libraries talk that read HTTPS_PROXY
  // themselves. NO_PROXY isn't read: whoever could set it could open a hole.
  function isDirect(host, port) {
    const h = bare(String(host || 'localhost'));
    return h === 'localhost' || h === '::1' || (net.isIPv4(h) && h.startsWith('127.')) ||
      (h === proxy.host && Number(port) === proxy.port);
  }

  // nativeFetch says whether this Node brings fetch through by itself: since
  // 22.21 and 24.5, where NODE_USE_ENV_PROXY is set.
  function nativeFetch() {
    const version = process.versions.node.split('.').map(Number);
    const known = version[0] > 24 || (version[0] === 24 && version[1] >= 5) || (version[0] === 22 && version[1] >= 21);
    return known && env.NODE_USE_ENV_PROXY === '1';
  }

  // dial opens a connection to the proxy itself.
  function dial() {
    const options = { host: proxy.host, port: proxy.port };
    const socket = proxy.secure
      ? tls.connect(Object.assign(options, net.isIP(proxy.host) ? {} : { servername: proxy.host }))
      : net.connect(options);
    socket.setNoDelay(true);
    return socket;
  }

  // authority is the host:port of a CONNECT.
  function authority(host, port) {
    const h = bare(String(host));
    if (/[\s\x00-\x1f\x7f]/.test(h)) throw new Error('exeat: host name with a space or a control character');
    return (net.isIPv6(h) ? '[' + h + ']' : h) + ':' + Number(port);
  }

  // tunnel asks the proxy for a connection to host and port and calls back once
  // with an error or when the socket it returns carries the far side's bytes.
  function tunnel(host, port, done) {
    const target = authority(host, port);
    const socket = dial();
    let head = Buffer.alloc(0);
    const timer = setTimeout(function () {
      finish(failure('ETIMEDOUT', 'the proxy did not answer in time', target));
    }, tunnelTimeout);

    function finish(err) {
      clearTimeout(timer);
      socket.removeListener('data', onData);
      socket.removeListener('error', finish);
      socket.removeListener('end', onEnd);
      socket.removeListener('close', onEnd);
      if (err) {
        socket.on('error', function () {});
        socket.destroy();
      }
      done(err);
    }
    function onEnd() {
      finish(failure('ECONNRESET', 'the proxy closed the connection', target));
    }
    function onData(chunk) {
      head = Buffer.concat([head, chunk]);
      const end = head.indexOf('\r\n\r\n');
      if (end < 0) {
        if (head.length > maxHead) finish(failure('ERR_EXEAT_PROXY', 'the proxy answered with too long a head', target));
        return;
      }
      const err = refusal(head.toString('latin1', 0, end), target);
      socket.pause();
      finish(err);
      if (!err && head.length > end + 4) socket.unshift(head.slice(end + 4));
    }
    socket.on('data', onData);
    socket.on('error', finish);
    socket.on('end', onEnd);
    socket.on('close', onEnd);
    socket.write('CONNECT ' + target + ' HTTP/1.1\r\nHost: ' + target + '\r\n' +
      (proxy.authorization ? 'Proxy-Authorization: ' + proxy.authorization + '\r\n' : '') + '\r\n');
    return socket;
  }

  // refusal turns an answer into an error whose message is the reason that the
  // proxy gave in its status line, or into null when the tunnel stands.
  function refusal(head, target) {
    const lines = head.split('\r\n');
    const status = /^HTTP\/1\.[01] (\d{3}) ?(.*)$/.exec(lines[0]);
    if (!status) return failure('ERR_EXEAT_PROXY', 'the proxy did not answer in HTTP', target);
    if (status[1][0] === '2') return null;
    const err = failure(status[1] === '403' ? 'ERR_EXEAT_REFUSED' : 'ERR_EXEAT_PROXY', status[2] || 'the proxy answered ' + status[1], target);
    err.statusCode = Number(status[1]);
    lines.forEach(function (line) {
      const reason = /^x-exeat-reason:\s*(.*)$/i.exec(line);
      if (reason) err.reason = reason[1];
    });
    return err;
  }

  function failure(code, text, target) {
    const err = new Error((/^exeat\b/i.test(text) ? '' : 'exeat: ') + text + ' (' + target + ')');
    err.code = code;
    return err;
  }

  // pending is a stream that can be written to at once and carries the far
  // side's bytes when the tunnel stands. An Agent must return its socket before
  // that: time limits, aborts and whoever wraps createConnection rely on it.
  function pending(host, port, failed) {
    let ready = false;
    let waiting = null;
    const stream = new Duplex({
      read: function () { if (ready) raw.resume(); },
      write: function (chunk, encoding, done) { whenReady(function () { raw.write(chunk, done); }); },
      final: function (done) { whenReady(function () { raw.end(done); }); },
      destroy: function (err, done) {
        raw.destroy();
        done(err);
      },
    });
    function whenReady(action) {
      if (ready) action();
      else waiting = action;
    }
    const raw = tunnel(host, port, function (err) {
      if (err) return failed(err);
      ready = true;
      raw.on('data', function (chunk) { if (!stream.push(chunk)) raw.pause(); });
      raw.on('end', function () { stream.push(null); });
      raw.on('error', function (e) { stream.destroy(e); });
      raw.on('close', function () { stream.destroy(); });
      raw.resume();
      if (waiting) waiting();
      waiting = null;
    });
    return { stream: stream, raw: raw };
  }

  // connectionOptions reads the ways in which createConnection can be called:
  // (options), (port, options), (port, host, options). Null: none of them.
  function connectionOptions(args) {
    const options = {};
    for (let i = 0; i < args.length && i < 3; i++) {
      const arg = args[i];
      if (arg !== null && typeof arg === 'object') return Object.assign({}, arg, options);
      if (typeof arg === 'number' && i === 0) options.port = arg;
      else if (typeof arg === 'string' && i === 1) options.host = arg;
      else if (typeof arg !== 'undefined' && arg !== null) return null;
    }
    return 'port' in options ? options : null;
  }

  // leaveAlone says whether a connection is not ours to make: a Unix socket, a
  // ready stream, a direct destination, or an agent that Node proxies itself.
  function leaveAlone(agent, options) {
    if (!options || options.socketPath || options.path || options.socket) return true;
    const own = agent && agent.options && agent.options.proxyEnv;
    if (own && (own.HTTPS_PROXY || own.https_proxy)) return true;
    return isDirect(options.host, options.port);
  }

  // patchAgents also takes over from Node's own proxying in newer versions: that
  // knows only the global Agents, gives up a held connection after five seconds,
  // forgets the credential with raw headers, and shows it in error messages.
  function patchAgents() {
    http.globalAgent = withoutProxy(http.globalAgent, http.Agent);
    https.globalAgent = withoutProxy(https.globalAgent, https.Agent);
    const secure = https.Agent.prototype.createConnection;
    https.Agent.prototype.createConnection = function createConnection() {
      const options = connectionOptions(arguments);
      if (leaveAlone(this, options)) return secure.apply(this, arguments);
      return connectSecure(this, secure, options);
    };
    const open = http.Agent.prototype.createConnection;
    http.Agent.prototype.createConnection = function createConnection() {
      const options = connectionOptions(arguments);
      if (leaveAlone(this, options)) return open.apply(this, arguments);
      return connectPlain(options);
    };
    const onSocket = http.ClientRequest.prototype.onSocket;
    http.ClientRequest.prototype.onSocket = function (socket) {
      if (socket && socket[plain]) makeAbsolute(this, socket[plain]);
      return onSocket.apply(this, arguments);
    };
  }

  function withoutProxy(agent, Agent) {
    if (!agent.options || !agent.options.proxyEnv) return agent;
    const options = Object.assign({}, agent.options);
    delete options.proxyEnv;
    return new Agent(options);
  }

  // connectSecure does TLS with the origin inside a tunnel. Node's own
  // createConnection does it, so that sessions, names, certificates and ALPN
  // are handled as ever.
  function connectSecure(agent, original, options) {
    const port = options.port || 443;
    const carrier = pending(options.host, port, function (err) { socket.destroy(err); });
    const socket = original.call(agent, Object.assign({}, options, { socket: carrier.stream }));
    // An idle socket must not keep the process alive, and only the raw one does.
    socket.ref = function () {
      carrier.raw.ref();
      return tls.TLSSocket.prototype.ref.call(socket);
    };
    socket.unref = function () {
      carrier.raw.unref();
      return tls.TLSSocket.prototype.unref.call(socket);
    };
    if (options.timeout) socket.setTimeout(options.timeout);
    return socket;
  }

  // connectPlain opens a connection for requests in absolute form (RFC 9112,
  // section 3.2.2): http:// needs no tunnel, and the proxy sees what it is.
  function connectPlain(options) {
    const socket = dial();
    const port = Number(options.port) || 80;
    socket[plain] = 'http://' + authority(options.host, port).replace(/:80$/, '');
    if (options.timeout) socket.setTimeout(options.timeout);
    return socket;
  }

  // makeAbsolute rewrites a request at the moment it gets a socket that leads to
  // the proxy: only then is it known. Its head may be rendered already, and may
  // even wait in the queue.
  function makeAbsolute(req, origin) {
    if (req.path[0] !== '/') return;
    if (!req._header) {
      if (proxy.authorization) req.setHeader('Proxy-Authorization', proxy.authorization);
      req.path = origin + req.path;
      return;
    }
    const before = req._header;
    const line = req.method + ' ' + req.path + ' ';
    if (!before.startsWith(line)) throw new Error('exeat: a request head that is not known');
    const after = req.method + ' ' + origin + req.path + ' ' + before.slice(line.length).replace('\r\n',
      '\r\n' + (proxy.authorization ? 'Proxy-Authorization: ' + proxy.authorization + '\r\n' : ''));
    const first = req.outputData && req.outputData[0];
    if (req._headerSent && first && typeof first.data === 'string' && first.data.startsWith(before)) {
      first.data = after + first.data.slice(before.length);
      req.outputSize += after.length - before.length;
    }
    req._header = after;
    req.path = origin + req.path;
  }

  // patchFetch gives fetch a dispatcher that goes through the proxy. Node shows
  // undici's Agent only as the constructor of the one in use, which exists once
  // fetch was touched.
  function patchFetch() {
    if (typeof fetch !== 'function') return;
    fetch('data:,').then(function () {}, function () {});
    ['undici.globalDispatcher.1', 'undici.globalDispatcher.2'].forEach(function (name) {
      const key = Symbol.for(name);
      const current = globalThis[key];
      if (!current || typeof current.dispatch !== 'function') return;
      globalThis[key] = proxied(current.constructor);
    });
  }

  function proxied(Agent) {
    const agent = new Agent({ connect: connectFetch });
    const dispatch = agent.dispatch;
    agent.dispatch = function (options, handler) {
      return dispatch.call(agent, absoluteFetch(options), handler);
    };
    return agent;
  }

  // absoluteFetch does for fetch what makeAbsolute does for http.request.
  function absoluteFetch(options) {
    const url = options.origin && new URL(String(options.origin));
    if (!url || url.protocol !== 'http:' || isDirect(url.hostname, url.port || 80)) return options;
    if (typeof options.path !== 'string' || options.path[0] !== '/') return options;
    if (!proxy.authorization) return Object.assign({}, options, { path: url.origin + options.path });
    return Object.assign({}, options, {
      path: url.origin + options.path,
      headers: withHeader(options.headers, 'proxy-authorization', proxy.authorization),
    });
  }

  // withHeader adds to headers in any of undici's forms: nothing, name and value
  // in turn, pairs, an object.
  function withHeader(headers, name, value) {
    if (!headers) return [name, value];
    if (Array.isArray(headers)) return headers.concat(Array.isArray(headers[0]) ? [[name, value]] : [name, value]);
    if (typeof headers[Symbol.iterator] === 'function') return withHeader(Array.from(headers), name, value);
    const added = {};
    added[name] = value;
    return Object.assign({}, headers, added);
  }

  // connectFetch is undici's connector.
  function connectFetch(options, done) {
    const secure = options.protocol === 'https:';
    const host = options.hostname;
    const port = Number(options.port) || (secure ? 443 : 80);
    let called = false;
    function once(err, socket) {
      if (called) return;
      called = true;
      done(err, err ? null : socket);
    }
    try {
      if (isDirect(host, port)) direct();
      else if (!secure) connected(dial(), 'connect');
      else {
        const raw = tunnel(host, port, function (err) {
          if (err) return once(err);
          connected(tls.connect(tlsOptions({ socket: raw })), 'secureConnect');
        });
      }
    } catch (err) {
      once(err);
    }
    function direct() {
      const target = { host: bare(host), port: port };
      if (secure) connected(tls.connect(tlsOptions(target)), 'secureConnect');
      else connected(net.connect(target), 'connect');
    }
    function tlsOptions(more) {
      return Object.assign({ host: bare(host), servername: options.servername || (net.isIP(bare(host)) ? '' : host), ALPNProtocols: ['http/1.1'], highWaterMark: 16384 }, more);
    }
    function connected(socket, event) {
      const timer = setTimeout(function () {
        socket.destroy(failure('ETIMEDOUT', 'no connection in time', authority(host, port)));
      }, tunnelTimeout);
      socket.setNoDelay(true);
      socket.setKeepAlive(true, 60 * 1000);
      socket.once(event, function () {
        clearTimeout(timer);
        socket.removeListener('error', failed);
        once(null, socket);
      });
      socket.on('error', failed);
      function failed(err) {
        clearTimeout(timer);
        once(err);
      }
    }
  }
})();
