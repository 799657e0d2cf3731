// The documents that the page receives. For `tsc --checkJs` only: the program does not embed this file.

export type State = 'starting' | 'valid' | 'expiring' | 'refused' | 'expired' | 'needs_login';
export type Outcome = 'ok' | 'transient' | 'ambiguous' | 'rejected' | 'misconfigured';
/** RFC 3339, in UTC. */
export type Time = string;

export interface Refresh {
  at: Time;
  trigger: string;
  outcome: Outcome;
  duration_ms: number;
  error: string | null;
}

/** The document of `GET /status`. */
export interface Status {
  state: State;
  grant: 'refresh_token' | 'client_credentials' | 'static';
  profile: string;
  generation: number;
  obtained_at: Time | null;
  expires_at: Time | null;
  refresh_at: Time | null;
  retry_at?: Time | null;
  /** The failed operation. */
  retrying?: 'refresh' | 'store' | 'load' | null;
  refused_at?: Time | null;
  last_refresh: Refresh | null;
  persisted: boolean;
  store: string;
  draining: boolean;
  version: string;
  reason?: string | null;
}

export interface Sample {
  /** The end of the interval. */
  at: Time;
  requests: { '2xx': number; '3xx': number; '4xx': number; '5xx': number; proxy: number };
  p50_ms: number | null;
  p95_ms: number | null;
  p99_ms: number | null;
  replays: number;
  refused: number;
  waits: number;
}

export interface Problem {
  id: string | null;
  level: 'warn' | 'error';
  message: string;
  first_at: Time;
  last_at: Time;
  count: number;
  doc: string | null;
}

export interface Store {
  kind: string;
  shared: boolean;
  holder: string | null;
  held_until: Time | null;
  this: string;
  refreshed_by: string | null;
}

export interface Login {
  offered: boolean;
  why_not: 'no-key' | 'grant-type' | 'no-authorize-url' | null;
  command: string;
  redirect_uri: string | null;
  /** Where the page must be for the redirect to arrive. `null`: only pasting works. */
  callback_origin: string | null;
  last: { at: Time; ok: boolean; message: string } | null;
}

export interface Page {
  now: Time;
  interval_ms: number;
  listen?: string | null;
  status: Status;
  upstream: string;
  /** Only in the first event of a stream. */
  samples?: Sample[];
  refreshes: Refresh[];
  problems: Problem[];
  store: Store;
  login: Login;
}

export interface Setting {
  key: string;
  value: unknown;
  source: string;
}

export interface LoginStarted {
  authorize_url: string;
  expires_at: Time;
  callback: boolean;
}

/** How the page reaches the proxy. */
export type Link =
  | { kind: 'connecting' }
  | { kind: 'live' }
  | { kind: 'broken'; why: string }
  | { kind: 'draining' }
  | { kind: 'full' }
  | { kind: 'key'; wrong: boolean };

export type Tone = 'working' | 'waiting' | 'failing' | 'person' | 'unknown';

/** The first lines of the page. */
export interface Words {
  tone: Tone;
  /** The state in one or two words. */
  word: string;
  /** What is. */
  line: string;
  /** What to do. */
  todo: string;
  /** The action that repairs it. */
  fix: 'refresh' | 'login' | 'key' | null;
}

export interface Events {
  page(page: Page): void;
  sample(sample: Sample): void;
  link(link: Link): void;
}
