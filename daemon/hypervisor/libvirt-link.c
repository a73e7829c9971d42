/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libvirt-link.h"

#include "libvirt-events.h"

#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>
#include <string.h>

/* libvirt 9.0 crashes now and then when two threads make calls on one connection and wake each other. For the same reason
 * there are no keep-alive messages, which another thread sends, where the daemon's death is noticed without them. */
#define LINK_THREADS 1
/* A libvirtd that has just begun asks every QEMU of the host what it can do, before it answers. */
#define OPEN_TIMEOUT_MS 20000
#define READY_TIMEOUT_MS 5000
#define RETRY_MIN_MS 250
#define RETRY_MAX_MS 30000
#define KEEPALIVE_SECONDS 5
#define KEEPALIVE_COUNT 3
#define MAX_CALLBACKS 2

/* Of one virConnectPtr. It is what the close callback gets, which libvirt does not call any more once it is unregistered. */
typedef struct {
  BkLibvirtLink *link;
  virConnectPtr connection;
  int callbacks[MAX_CALLBACKS];
} Session;

struct BkLibvirtLink {
  gatomicrefcount refs;
  char *uri;
  bool remote;
  GMainContext *context;
  GThreadPool *pool;

  GMutex mutex;
  GCond changed;
  BkLink state;
  char *reason, *version;
  Session *session;     /* NULL while there is none */
  bool hangs;           /* a call was not answered in time; it still waits */
  bool ended;           /* nobody wants it any more */
  uint64_t news;        /* counts what happened */

  /* main thread */
  BkLibvirt *libvirt;
  GArray *watches;
  GSource *timer;
  unsigned retry_ms;
  unsigned users;
};

struct BkLibvirt {
  GHashTable *links; /* URI to BkLibvirtLink, not owned */
  BkLibvirtEvents *events;
};

typedef struct {
  BkLibvirtNotify notify;
  gpointer user_data;
} Watch;

/* A piece of work for the pool. */
typedef struct {
  gatomicrefcount refs;
  BkLibvirtLink *link;
  void (*run) (BkLibvirtLink *link, gpointer work);
  const char *what;
  BkLibvirtFunction function;
  BkLibvirtArgs args;
  Session *session; /* to close */
  /* with the link's mutex */
  bool abandoned; /* nobody waits for it: not to be begun any more */
  bool done;
  gboolean ok;
  GError *error;
} Work;

static void on_closed (virConnectPtr connection, int reason, void *data);
static void open_session (BkLibvirtLink *link);
static void enter (BkLibvirtLink *link, BkLink state, const char *reason);

static BkLibvirtLink *
link_ref (BkLibvirtLink *link)
{
  g_atomic_ref_count_inc (&link->refs);
  return link;
}

static void
link_release (BkLibvirtLink *link)
{
  if (!g_atomic_ref_count_dec (&link->refs))
    return;
  g_thread_pool_free (link->pool, FALSE, FALSE);
  g_free (link->uri);
  g_free (link->reason);
  g_free (link->version);
  g_array_unref (link->watches);
  g_main_context_unref (link->context);
  g_mutex_clear (&link->mutex);
  g_cond_clear (&link->changed);
  g_free (link);
}

/* --- errors --- */

static int
code_of (int code)
{
  switch (code) {
  case VIR_ERR_NO_DOMAIN:
  case VIR_ERR_NO_DOMAIN_CHECKPOINT:
  case VIR_ERR_NO_DOMAIN_BACKUP:
    return BK_ERROR_NOT_FOUND;
  case VIR_ERR_AUTH_FAILED:
  case VIR_ERR_AUTH_CANCELLED:
  case VIR_ERR_AUTH_UNAVAILABLE:
  case VIR_ERR_OPERATION_DENIED:
  case VIR_ERR_ACCESS_DENIED:
    return BK_ERROR_DENIED;
  case VIR_ERR_OPERATION_TIMEOUT:
    return BK_ERROR_CONFLICT;
  case VIR_ERR_RPC:
  case VIR_ERR_NO_CONNECT:
  case VIR_ERR_INVALID_CONN:
    return BK_ERROR_UNREACHABLE;
  default:
    return BK_ERROR_FAILED;
  }
}

void
bk_libvirt_set_error (GError **error, const char *what)
{
  virErrorPtr last = virGetLastError ();
  int code = code_of (last ? last->code : VIR_ERR_INTERNAL_ERROR);
  /* The connection breaks in the middle of a call: an error of the transport, whatever its code. */
  if (last && (last->domain == VIR_FROM_RPC || last->domain == VIR_FROM_REMOTE) && code == BK_ERROR_FAILED)
    code = BK_ERROR_UNREACHABLE;
  g_autofree char *line = g_strdelimit (g_strdup (last && last->message ? last->message : "no reason given"), "\r\n", ' ');
  g_set_error (error, BK_ERROR, code, "libvirt refused '%s': %s", what, g_strstrip (line));
}

static void
ignore_error (void *data G_GNUC_UNUSED, virErrorPtr error G_GNUC_UNUSED)
{
}

/* --- to the main thread --- */

typedef struct {
  BkLibvirtLink *link;
  Session *session;   /* opened, or closed by the other side */
  char *uuid, *event;
  char *reason;
  char *version;
  GHashTable *domains; /* UUID to the word for how it is now */
} News;

static void
news_free (gpointer data)
{
  News *news = data;
  link_release (news->link);
  g_free (news->uuid);
  g_free (news->event);
  g_free (news->reason);
  g_free (news->version);
  g_clear_pointer (&news->domains, g_hash_table_unref);
  g_free (news);
}

static void
post (BkLibvirtLink *link, GSourceFunc function, News *news)
{
  g_autoptr (GSource) source = g_idle_source_new ();
  news->link = link_ref (link);
  g_source_set_priority (source, G_PRIORITY_DEFAULT);
  g_source_set_callback (source, function, news, news_free);
  g_source_attach (source, link->context);
}

static void
tell (BkLibvirtLink *link, const char *uuid, const char *event)
{
  g_autoptr (GArray) watches = g_array_copy (link->watches);
  for (unsigned i = 0; i < watches->len; i++) {
    Watch watch = g_array_index (watches, Watch, i);
    watch.notify (link, uuid, event, watch.user_data);
  }
}

static void
count_news (BkLibvirtLink *link)
{
  g_mutex_lock (&link->mutex);
  link->news++;
  g_cond_broadcast (&link->changed);
  g_mutex_unlock (&link->mutex);
}

/* --- what libvirt tells, on the event thread --- */

static gboolean
on_event_told (gpointer data)
{
  News *news = data;
  if (news->link->users > 0)
    tell (news->link, news->uuid, news->event);
  return G_SOURCE_REMOVE;
}

static void
post_event (BkLibvirtLink *link, virDomainPtr domain, const char *event)
{
  char uuid[VIR_UUID_STRING_BUFLEN];
  if (event == NULL || virDomainGetUUIDString (domain, uuid) < 0)
    return;
  count_news (link);
  News *news = g_new0 (News, 1);
  news->uuid = g_strdup (uuid);
  news->event = g_strdup (event);
  post (link, on_event_told, news);
}

static const char *
lifecycle_word (int event)
{
  switch (event) {
  case VIR_DOMAIN_EVENT_DEFINED:
    return "defined";
  case VIR_DOMAIN_EVENT_UNDEFINED:
    return "undefined";
  case VIR_DOMAIN_EVENT_STARTED:
    return "started";
  case VIR_DOMAIN_EVENT_SUSPENDED:
  case VIR_DOMAIN_EVENT_PMSUSPENDED:
    return "paused";
  case VIR_DOMAIN_EVENT_RESUMED:
    return "resumed";
  case VIR_DOMAIN_EVENT_STOPPED:
    return "stopped";
  case VIR_DOMAIN_EVENT_CRASHED:
    return "crashed";
  default:
    return NULL;
  }
}

static const char *
state_word (int state)
{
  switch (state) {
  case VIR_DOMAIN_RUNNING:
  case VIR_DOMAIN_BLOCKED:
    return "started";
  case VIR_DOMAIN_PAUSED:
  case VIR_DOMAIN_PMSUSPENDED:
    return "paused";
  case VIR_DOMAIN_SHUTOFF:
    return "stopped";
  case VIR_DOMAIN_CRASHED:
    return "crashed";
  default:
    return NULL;
  }
}

static int
on_lifecycle (virConnectPtr connection G_GNUC_UNUSED, virDomainPtr domain, int event, int detail G_GNUC_UNUSED, void *data)
{
  post_event (data, domain, lifecycle_word (event));
  return 0;
}

static void
on_job_completed (virConnectPtr connection G_GNUC_UNUSED, virDomainPtr domain, virTypedParameterPtr parameters G_GNUC_UNUSED, int n G_GNUC_UNUSED, void *data)
{
  post_event (data, domain, "job");
}

static void
release_data (void *data)
{
  link_release (data);
}

/* --- the pool --- */

static void
args_clear (BkLibvirtArgs *args)
{
  g_free (args->domain);
  g_free (args->text);
  g_free (args->more);
  if (args->result && args->free_result)
    args->free_result (args->result);
}

static void
work_unref (Work *work)
{
  if (!g_atomic_ref_count_dec (&work->refs))
    return;
  args_clear (&work->args);
  g_clear_error (&work->error);
  link_release (work->link);
  g_free (work);
}

static Work *
work_new (BkLibvirtLink *link, void (*run) (BkLibvirtLink *, gpointer))
{
  Work *work = g_new0 (Work, 1);
  g_atomic_ref_count_init (&work->refs);
  work->link = link_ref (link);
  work->run = run;
  return work;
}

/* @work: (transfer full) */
static void
push (BkLibvirtLink *link, Work *work)
{
  g_thread_pool_push (link->pool, work, NULL);
}

static void
run_work (gpointer data, gpointer user_data G_GNUC_UNUSED)
{
  Work *work = data;
  work->run (work->link, work);
  work_unref (work);
}

/* --- opening and closing --- */

static void
session_free (Session *session)
{
  for (unsigned i = 0; i < MAX_CALLBACKS; i++)
    if (session->callbacks[i] >= 0)
      virConnectDomainEventDeregisterAny (session->connection, session->callbacks[i]);
  virConnectUnregisterCloseCallback (session->connection, on_closed);
  virConnectClose (session->connection);
  link_release (session->link);
  g_free (session);
}

static void
run_close (BkLibvirtLink *link G_GNUC_UNUSED, gpointer data)
{
  session_free (((Work *)data)->session);
}

static void
close_session (BkLibvirtLink *link, Session *session)
{
  Work *work = work_new (link, run_close);
  work->session = session;
  push (link, work);
}

static Session *
take_session (BkLibvirtLink *link)
{
  g_mutex_lock (&link->mutex);
  Session *session = g_steal_pointer (&link->session);
  g_mutex_unlock (&link->mutex);
  return session;
}

static void
set_timer (BkLibvirtLink *link, unsigned milliseconds, GSourceFunc function)
{
  if (link->timer) {
    g_source_destroy (link->timer);
    g_clear_pointer (&link->timer, g_source_unref);
  }
  if (function == NULL)
    return;
  link->timer = g_timeout_source_new (milliseconds);
  g_source_set_callback (link->timer, function, link, NULL);
  g_source_attach (link->timer, link->context);
}

static gboolean
on_retry (gpointer data)
{
  BkLibvirtLink *link = data;
  set_timer (link, 0, NULL);
  open_session (link);
  return G_SOURCE_REMOVE;
}

static void
retry_later (BkLibvirtLink *link)
{
  set_timer (link, link->retry_ms, on_retry);
  link->retry_ms = MIN (link->retry_ms * 2, RETRY_MAX_MS);
}

static gboolean
on_closed_told (gpointer data)
{
  News *news = data;
  BkLibvirtLink *link = news->link;
  g_mutex_lock (&link->mutex);
  bool current = link->session == news->session && news->session != NULL;
  if (current) {
    link->session = NULL;
    link->hangs = false;
  }
  g_mutex_unlock (&link->mutex);
  if (!current)
    return G_SOURCE_REMOVE;
  close_session (link, news->session);
  g_autofree char *reason = g_strdup_printf ("libvirtd at '%s' %s", link->uri, news->reason);
  link->retry_ms = RETRY_MIN_MS;
  retry_later (link);
  enter (link, BK_LINK_DOWN, reason);
  return G_SOURCE_REMOVE;
}

static void
on_closed (virConnectPtr connection G_GNUC_UNUSED, int reason, void *data)
{
  Session *session = data;
  News *news = g_new0 (News, 1);
  news->session = session;
  news->reason = g_strdup (reason == VIR_CONNECT_CLOSE_REASON_KEEPALIVE ? "does not answer any more" : "closed the connection");
  post (session->link, on_closed_told, news);
}

static int
register_event (Session *session, BkLibvirtLink *link, int id, virConnectDomainEventGenericCallback callback)
{
  int number = virConnectDomainEventRegisterAny (session->connection, NULL, id, callback, link_ref (link), release_data);
  if (number < 0)
    link_release (link);
  return number;
}

static void
register_callbacks (Session *session, BkLibvirtLink *link)
{
  session->link = link_ref (link);
  virConnectRegisterCloseCallback (session->connection, on_closed, session, NULL);
  session->callbacks[0] = register_event (session, link, VIR_DOMAIN_EVENT_ID_LIFECYCLE, VIR_DOMAIN_EVENT_CALLBACK (on_lifecycle));
  session->callbacks[1] = register_event (session, link, VIR_DOMAIN_EVENT_ID_JOB_COMPLETED, VIR_DOMAIN_EVENT_CALLBACK (on_job_completed));
}

static char *
version_of (virConnectPtr connection)
{
  unsigned long version = 0;
  if (virConnectGetVersion (connection, &version) < 0 || version == 0)
    return NULL;
  return g_strdup_printf ("%lu.%lu.%lu", version / 1000000, version / 1000 % 1000, version % 1000);
}

/* What happened while we did not listen. */
static GHashTable *
states_now (virConnectPtr connection)
{
  GHashTable *states = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
  virDomainPtr *domains = NULL;
  int n = virConnectListAllDomains (connection, &domains, 0);
  for (int i = 0; i < n; i++) {
    char uuid[VIR_UUID_STRING_BUFLEN];
    int state = 0;
    if (virDomainGetUUIDString (domains[i], uuid) == 0 && virDomainGetState (domains[i], &state, NULL, 0) == 0)
      g_hash_table_insert (states, g_strdup (uuid), (gpointer)state_word (state));
    virDomainFree (domains[i]);
  }
  if (n >= 0)
    free (domains);
  return states;
}

static void
tell_states (BkLibvirtLink *link, GHashTable *states)
{
  GHashTableIter iter;
  gpointer uuid, word;
  g_hash_table_iter_init (&iter, states);
  while (g_hash_table_iter_next (&iter, &uuid, &word))
    if (word && link->users > 0)
      tell (link, uuid, word);
}

static gboolean
on_opened_told (gpointer data)
{
  News *news = data;
  BkLibvirtLink *link = news->link;
  set_timer (link, 0, NULL);
  if (link->users == 0 || link->ended) {
    if (news->session)
      close_session (link, news->session);
    return G_SOURCE_REMOVE;
  }
  if (news->session == NULL) {
    retry_later (link);
    enter (link, BK_LINK_DOWN, news->reason);
    return G_SOURCE_REMOVE;
  }
  link->retry_ms = RETRY_MIN_MS;
  g_mutex_lock (&link->mutex);
  link->session = news->session;
  g_free (link->version);
  link->version = g_steal_pointer (&news->version);
  g_mutex_unlock (&link->mutex);
  enter (link, BK_LINK_READY, "");
  tell_states (link, news->domains);
  return G_SOURCE_REMOVE;
}

static void
run_open (BkLibvirtLink *link, gpointer work G_GNUC_UNUSED)
{
  News *news = g_new0 (News, 1);
  virConnectPtr connection = virConnectOpen (link->uri);
  if (connection) {
    news->session = g_new0 (Session, 1);
    news->session->connection = connection;
    if (link->remote)
      virConnectSetKeepAlive (connection, KEEPALIVE_SECONDS, KEEPALIVE_COUNT);
    register_callbacks (news->session, link);
    news->version = version_of (connection);
    news->domains = states_now (connection);
  } else {
    const char *message = virGetLastErrorMessage ();
    news->reason = g_strdup_printf ("cannot connect to libvirt at '%s': %s", link->uri, message);
    g_strdelimit (news->reason, "\r\n", ' ');
  }
  post (link, on_opened_told, news);
}

/* Nothing but its end can be waited for: it is tried again only then. */
static gboolean
on_open_slow (gpointer data)
{
  BkLibvirtLink *link = data;
  set_timer (link, 0, NULL);
  g_autofree char *reason = g_strdup_printf ("libvirtd at '%s' does not answer", link->uri);
  enter (link, BK_LINK_DOWN, reason);
  return G_SOURCE_REMOVE;
}

static void
open_session (BkLibvirtLink *link)
{
  set_timer (link, OPEN_TIMEOUT_MS, on_open_slow);
  push (link, work_new (link, run_open));
}

/* Last thing to do in a function. Main thread. */
static void
enter (BkLibvirtLink *link, BkLink state, const char *reason)
{
  g_mutex_lock (&link->mutex);
  bool other = link->state != state || g_strcmp0 (link->reason, reason) != 0;
  link->state = state;
  g_free (link->reason);
  link->reason = g_strdup (reason);
  link->news++;
  g_cond_broadcast (&link->changed);
  g_mutex_unlock (&link->mutex);
  if (other)
    tell (link, NULL, NULL);
}

/* --- links --- */

bool
bk_libvirt_uri_is_remote (const char *uri)
{
  g_autoptr (GUri) parsed = g_uri_parse (uri, G_URI_FLAGS_NONE, NULL);
  const char *host = parsed ? g_uri_get_host (parsed) : NULL;
  return host && *host;
}

static BkLibvirtLink *
link_new (BkLibvirt *libvirt, const char *uri)
{
  BkLibvirtLink *link = g_new0 (BkLibvirtLink, 1);
  g_atomic_ref_count_init (&link->refs);
  link->libvirt = libvirt;
  link->uri = g_strdup (uri);
  link->remote = bk_libvirt_uri_is_remote (uri);
  link->context = g_main_context_ref_thread_default ();
  link->pool = g_thread_pool_new (run_work, NULL, LINK_THREADS, FALSE, NULL);
  link->watches = g_array_new (FALSE, FALSE, sizeof (Watch));
  link->state = BK_LINK_CONNECTING;
  link->reason = g_strdup ("connecting");
  link->retry_ms = RETRY_MIN_MS;
  g_mutex_init (&link->mutex);
  g_cond_init (&link->changed);
  return link;
}

BkLibvirtLink *
bk_libvirt_get_link (BkLibvirt *libvirt, const char *uri)
{
  BkLibvirtLink *link = g_hash_table_lookup (libvirt->links, uri);
  if (link) {
    link->users++;
    return link;
  }
  link = link_new (libvirt, uri);
  link->users = 1;
  g_hash_table_insert (libvirt->links, link->uri, link);
  open_session (link);
  return link;
}

void
bk_libvirt_link_unref (BkLibvirtLink *link)
{
  if (--link->users > 0)
    return;
  if (link->libvirt)
    g_hash_table_remove (link->libvirt->links, link->uri);
  link->libvirt = NULL;
  set_timer (link, 0, NULL);
  g_mutex_lock (&link->mutex);
  link->ended = true;
  g_cond_broadcast (&link->changed);
  g_mutex_unlock (&link->mutex);
  Session *session = take_session (link);
  if (session)
    close_session (link, session);
  link_release (link);
}

const char *
bk_libvirt_link_uri (const BkLibvirtLink *link)
{
  return link->uri;
}

BkLink
bk_libvirt_link_state (BkLibvirtLink *link, char **reason, char **version)
{
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&link->mutex);
  if (reason)
    *reason = g_strdup (link->reason);
  if (version)
    *version = g_strdup (link->version);
  return link->state;
}

void
bk_libvirt_link_watch (BkLibvirtLink *link, BkLibvirtNotify notify, gpointer user_data)
{
  Watch watch = { notify, user_data };
  g_array_append_val (link->watches, watch);
}

void
bk_libvirt_link_unwatch (BkLibvirtLink *link, BkLibvirtNotify notify, gpointer user_data)
{
  for (unsigned i = link->watches->len; i-- > 0;) {
    const Watch *watch = &g_array_index (link->watches, Watch, i);
    if (watch->notify == notify && watch->user_data == user_data)
      g_array_remove_index (link->watches, i);
  }
}

/* --- waiting --- */

static void
on_cancelled (GCancellable *cancellable G_GNUC_UNUSED, gpointer data)
{
  BkLibvirtLink *link = data;
  g_mutex_lock (&link->mutex);
  g_cond_broadcast (&link->changed);
  g_mutex_unlock (&link->mutex);
}

static gulong
watch_cancellable (BkLibvirtLink *link, GCancellable *cancellable)
{
  return cancellable ? g_cancellable_connect (cancellable, G_CALLBACK (on_cancelled), link_ref (link), (GDestroyNotify)link_release) : 0;
}

void
bk_libvirt_link_wait_news (BkLibvirtLink *link, uint64_t *seen, unsigned timeout_ms, GCancellable *cancellable)
{
  int64_t deadline = g_get_monotonic_time () + timeout_ms * G_TIME_SPAN_MILLISECOND;
  gulong handler = watch_cancellable (link, cancellable);
  g_mutex_lock (&link->mutex);
  while (link->news == *seen && !link->ended && !g_cancellable_is_cancelled (cancellable))
    if (!g_cond_wait_until (&link->changed, &link->mutex, deadline))
      break;
  *seen = link->news;
  g_mutex_unlock (&link->mutex);
  g_cancellable_disconnect (cancellable, handler);
}

static bool
is_ready (const BkLibvirtLink *link)
{
  return link->session != NULL && !link->hangs;
}

/* The first attempt is waited for to its end; a connection that was lost may come back in a moment. With the mutex. */
static bool
wait_session (BkLibvirtLink *link, GCancellable *cancellable)
{
  bool first = link->state == BK_LINK_CONNECTING;
  int64_t deadline = g_get_monotonic_time () + (first ? OPEN_TIMEOUT_MS : READY_TIMEOUT_MS) * G_TIME_SPAN_MILLISECOND;
  while (!is_ready (link) && !link->ended && !g_cancellable_is_cancelled (cancellable) && !(first && link->state == BK_LINK_DOWN))
    if (!g_cond_wait_until (&link->changed, &link->mutex, deadline))
      break;
  return is_ready (link);
}

/* With the mutex. */
static bool
wait_done (BkLibvirtLink *link, const Work *work, unsigned timeout_ms, GCancellable *cancellable)
{
  int64_t deadline = g_get_monotonic_time () + timeout_ms * G_TIME_SPAN_MILLISECOND;
  while (!work->done && !link->ended && !g_cancellable_is_cancelled (cancellable))
    if (!g_cond_wait_until (&link->changed, &link->mutex, deadline))
      break;
  return work->done;
}

/* --- calls --- */

static gboolean
on_hangs_told (gpointer data)
{
  News *news = data;
  BkLibvirtLink *link = news->link;
  g_mutex_lock (&link->mutex);
  bool hangs = link->hangs, connected = link->session != NULL;
  g_mutex_unlock (&link->mutex);
  if (!connected || link->users == 0)
    return G_SOURCE_REMOVE;
  g_autofree char *reason = g_strdup_printf ("libvirtd at '%s' does not answer", link->uri);
  if (hangs)
    enter (link, BK_LINK_DOWN, reason);
  else
    enter (link, BK_LINK_READY, "");
  return G_SOURCE_REMOVE;
}

/* With the mutex. */
static void
set_hangs (BkLibvirtLink *link, bool hangs)
{
  if (link->hangs == hangs)
    return;
  link->hangs = hangs;
  post (link, on_hangs_told, g_new0 (News, 1));
}

/* NULL when there is none. (transfer full) */
static virConnectPtr
begin_call (BkLibvirtLink *link, const Work *work)
{
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&link->mutex);
  virConnectPtr connection = link->session && !work->abandoned ? link->session->connection : NULL;
  if (connection)
    virConnectRef (connection);
  return connection;
}

static void
end_call (BkLibvirtLink *link, Work *work, gboolean ok, GError *error)
{
  g_mutex_lock (&link->mutex);
  work->ok = ok;
  work->error = error;
  work->done = true;
  set_hangs (link, false);
  g_cond_broadcast (&link->changed);
  g_mutex_unlock (&link->mutex);
}

static void
run_call (BkLibvirtLink *link, gpointer data)
{
  Work *work = data;
  g_autoptr (GError) error = NULL;
  gboolean ok = FALSE;
  virConnectPtr connection = begin_call (link, work);
  if (connection == NULL)
    g_set_error (&error, BK_ERROR, BK_ERROR_UNREACHABLE, "the connection to libvirt at '%s' was lost", link->uri);
  else
    ok = work->function (connection, &work->args, &error);
  /* Whatever libvirt makes of it: a connection that is dead now could not answer. */
  if (!ok && connection && virConnectIsAlive (connection) != 1 && error)
    error->code = BK_ERROR_UNREACHABLE;
  if (connection)
    virConnectClose (connection);
  end_call (link, work, ok, g_steal_pointer (&error));
}

static void
give_up (BkLibvirtLink *link, Work *work, GCancellable *cancellable, GError **error)
{
  work->abandoned = true;
  if (g_cancellable_is_cancelled (cancellable)) {
    g_set_error_literal (error, BK_ERROR, BK_ERROR_CANCELLED, "cancelled");
    return;
  }
  set_hangs (link, true);
  g_set_error (error, BK_ERROR, BK_ERROR_UNREACHABLE, "libvirtd at '%s' does not answer ('%s')", link->uri, work->what);
}

static gboolean
check_ready (BkLibvirtLink *link, GCancellable *cancellable, GError **error)
{
  if (wait_session (link, cancellable))
    return TRUE;
  if (g_cancellable_is_cancelled (cancellable))
    g_set_error_literal (error, BK_ERROR, BK_ERROR_CANCELLED, "cancelled");
  else if (link->state == BK_LINK_CONNECTING || link->hangs)
    g_set_error (error, BK_ERROR, BK_ERROR_UNREACHABLE, "libvirtd at '%s' does not answer", link->uri);
  else
    g_set_error_literal (error, BK_ERROR, BK_ERROR_UNREACHABLE, link->reason);
  return FALSE;
}

static gboolean
take_result (Work *work, gpointer *result, GError **error)
{
  if (!work->ok)
    g_propagate_error (error, g_steal_pointer (&work->error));
  else if (result)
    *result = g_steal_pointer (&work->args.result);
  return work->ok;
}

gboolean
bk_libvirt_link_call (BkLibvirtLink *link, const char *what, BkLibvirtFunction function, const BkLibvirtArgs *args, gpointer *result, unsigned timeout_ms,
                      GCancellable *cancellable, GError **error)
{
  gulong handler = watch_cancellable (link, cancellable);
  gboolean ok = FALSE;
  g_mutex_lock (&link->mutex);
  if (check_ready (link, cancellable, error)) {
    Work *work = work_new (link, run_call);
    work->what = what;
    work->function = function;
    work->args = (BkLibvirtArgs){ g_strdup (args->domain), g_strdup (args->text), g_strdup (args->more), args->number, args->flags, NULL, args->free_result };
    g_atomic_ref_count_inc (&work->refs);
    push (link, work);
    if (wait_done (link, work, timeout_ms, cancellable))
      ok = take_result (work, result, error);
    else
      give_up (link, work, cancellable, error);
    g_mutex_unlock (&link->mutex);
    work_unref (work);
  } else {
    g_mutex_unlock (&link->mutex);
  }
  g_cancellable_disconnect (cancellable, handler);
  return ok;
}

/* --- all of them --- */

BkLibvirt *
bk_libvirt_new (void)
{
  BkLibvirt *libvirt = g_new0 (BkLibvirt, 1);
  virInitialize ();
  virSetErrorFunc (NULL, ignore_error);
  libvirt->links = g_hash_table_new (g_str_hash, g_str_equal);
  libvirt->events = bk_libvirt_events_get ();
  bk_libvirt_events_start (libvirt->events);
  return libvirt;
}

void
bk_libvirt_free (BkLibvirt *libvirt)
{
  GHashTableIter iter;
  gpointer link;
  /* Of a question that nobody waits for any more. */
  g_hash_table_iter_init (&iter, libvirt->links);
  while (g_hash_table_iter_next (&iter, NULL, &link))
    ((BkLibvirtLink *)link)->libvirt = NULL;
  bk_libvirt_events_stop (libvirt->events);
  g_hash_table_unref (libvirt->links);
  g_free (libvirt);
}
