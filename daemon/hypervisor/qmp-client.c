/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "qmp-client-private.h"

#include <string.h>

#define CALL_MS 30000

void
bk_qmp_request_free (BkQmpRequest *request)
{
  g_string_free (request->text, TRUE);
  g_free (request);
}

BkQmpClient *
bk_qmp_client_new (const char *socket_path)
{
  BkQmpClient *client = g_new0 (BkQmpClient, 1);
  g_atomic_ref_count_init (&client->references);
  client->path = g_strdup (socket_path);
  client->context = g_main_context_ref_thread_default ();
  client->thread = g_thread_self ();
  g_mutex_init (&client->mutex);
  g_cond_init (&client->changed);
  client->state = BK_QMP_DOWN;
  client->reason = g_strdup ("not started");
  g_queue_init (&client->outgoing);
  g_queue_init (&client->sent);
  client->watches = g_ptr_array_new ();
  return client;
}

BkQmpClient *
bk_qmp_client_ref (BkQmpClient *client)
{
  g_atomic_ref_count_inc (&client->references);
  return client;
}

/* Between start and stop the main thread holds a reference, and so does each queued wake-up. So there is no
 * socket and no source when the last one goes, on whatever thread that is. */
void
bk_qmp_client_unref (BkQmpClient *client)
{
  if (client == NULL || !g_atomic_ref_count_dec (&client->references))
    return;
  g_assert (client->socket == NULL && client->timer == NULL && client->watches->len == 0);
  g_queue_clear_full (&client->outgoing, (GDestroyNotify)bk_qmp_request_free);
  g_queue_clear_full (&client->sent, (GDestroyNotify)bk_qmp_request_free);
  g_ptr_array_unref (client->watches);
  g_clear_pointer (&client->kept, g_bytes_unref);
  g_main_context_unref (client->context);
  g_mutex_clear (&client->mutex);
  g_cond_clear (&client->changed);
  g_free (client->path);
  g_free (client->reason);
  g_free (client->version);
  g_free (client);
}

void
bk_qmp_client_set_notify (BkQmpClient *client, BkQmpNotify notify, BkQmpEvent event, gpointer user_data)
{
  client->notify = notify;
  client->event = event;
  client->user_data = user_data;
}

/* --- what is known --- */

BkQmpState
bk_qmp_client_state (BkQmpClient *client)
{
  g_mutex_lock (&client->mutex);
  BkQmpState state = client->state;
  g_mutex_unlock (&client->mutex);
  return state;
}

bool
bk_qmp_client_is_refused (BkQmpClient *client)
{
  g_mutex_lock (&client->mutex);
  bool refused = client->refused && client->state == BK_QMP_DOWN;
  g_mutex_unlock (&client->mutex);
  return refused;
}

char *
bk_qmp_client_reason (BkQmpClient *client)
{
  g_mutex_lock (&client->mutex);
  char *reason = g_strdup (client->reason);
  g_mutex_unlock (&client->mutex);
  return reason;
}

char *
bk_qmp_client_version (BkQmpClient *client)
{
  g_mutex_lock (&client->mutex);
  char *version = g_strdup (client->version);
  g_mutex_unlock (&client->mutex);
  return version;
}

unsigned
bk_qmp_client_generation (BkQmpClient *client)
{
  g_mutex_lock (&client->mutex);
  unsigned generation = client->generation;
  g_mutex_unlock (&client->mutex);
  return generation;
}

pid_t
bk_qmp_client_peer_pid (BkQmpClient *client)
{
  g_mutex_lock (&client->mutex);
  pid_t pid = client->peer_pid;
  g_mutex_unlock (&client->mutex);
  return pid;
}

void
bk_qmp_client_keep (BkQmpClient *client, unsigned generation, GBytes *value)
{
  g_mutex_lock (&client->mutex);
  g_clear_pointer (&client->kept, g_bytes_unref);
  client->kept = g_bytes_ref (value);
  client->kept_generation = generation;
  g_mutex_unlock (&client->mutex);
}

GBytes *
bk_qmp_client_kept (BkQmpClient *client, unsigned generation)
{
  g_mutex_lock (&client->mutex);
  bool valid = client->kept && client->kept_generation == generation;
  GBytes *value = valid ? g_bytes_ref (client->kept) : NULL;
  g_mutex_unlock (&client->mutex);
  return value;
}

/* --- waiting --- */

typedef bool (*Condition) (BkQmpClient *client, gpointer data);

static void
on_cancelled (GCancellable *cancellable G_GNUC_UNUSED, gpointer data)
{
  BkQmpBatch *batch = data;
  g_mutex_lock (&batch->client->mutex);
  batch->cancelled = true;
  g_cond_broadcast (&batch->client->changed);
  g_mutex_unlock (&batch->client->mutex);
}

/* Without the mutex, as is the next: a cancellable calls back at once when it is cancelled already, and waits
 * for callbacks when it is disconnected. */
static gulong
watch_cancellable (GCancellable *cancellable, BkQmpBatch *batch)
{
  return cancellable ? g_cancellable_connect (cancellable, G_CALLBACK (on_cancelled), batch, NULL) : 0;
}

static void
unwatch_cancellable (GCancellable *cancellable, gulong handler)
{
  if (handler)
    g_cancellable_disconnect (cancellable, handler);
}

/* Waits until @condition holds, and says whether it does. With the mutex. */
static bool
wait_until (BkQmpBatch *batch, Condition condition, gpointer data, unsigned timeout_ms)
{
  BkQmpClient *client = batch->client;
  gint64 deadline = g_get_monotonic_time () + timeout_ms * G_TIME_SPAN_MILLISECOND;
  while (!condition (client, data) && !batch->cancelled)
    if (!g_cond_wait_until (&client->changed, &client->mutex, deadline))
      return condition (client, data);
  return condition (client, data);
}

static gboolean
set_cancelled (GError **error)
{
  g_set_error_literal (error, BK_ERROR, BK_ERROR_CANCELLED, "cancelled");
  return FALSE;
}

static bool
is_ready_or_stopped (BkQmpClient *client, gpointer data G_GNUC_UNUSED)
{
  return client->state == BK_QMP_READY || !client->started;
}

gboolean
bk_qmp_client_wait_ready (BkQmpClient *client, unsigned timeout_ms, GCancellable *cancellable, GError **error)
{
  g_assert (g_thread_self () != client->thread);
  BkQmpBatch batch = { .client = client };
  gulong handler = watch_cancellable (cancellable, &batch);
  g_mutex_lock (&client->mutex);
  if (client->state != BK_QMP_READY) {
    client->poked = true;
    bk_qmp_link_wake (client);
  }
  wait_until (&batch, is_ready_or_stopped, NULL, timeout_ms);
  gboolean ready = client->state == BK_QMP_READY;
  if (!ready && !batch.cancelled)
    g_set_error (error, BK_ERROR, BK_ERROR_UNREACHABLE, "not connected to QEMU: %s", client->reason);
  else if (!ready)
    set_cancelled (error);
  g_mutex_unlock (&client->mutex);
  unwatch_cancellable (cancellable, handler);
  return ready;
}

/* --- calls --- */

void
bk_qmp_call_clear (BkQmpCall *call)
{
  g_clear_pointer (&call->arguments, json_object_put);
  g_clear_pointer (&call->result, json_object_put);
  g_clear_error (&call->error);
}

/* A command out of band overtakes those that wait, but does not break into one that is half written. */
static void
enqueue (BkQmpClient *client, BkQmpRequest *request)
{
  const BkQmpRequest *first = g_queue_peek_head (&client->outgoing);
  if (!request->oob)
    g_queue_push_tail (&client->outgoing, request);
  else
    g_queue_push_nth (&client->outgoing, request, first && first->done > 0 ? 1 : 0);
}

static void
submit (BkQmpBatch *batch, BkQmpCall *calls, unsigned n)
{
  BkQmpClient *client = batch->client;
  for (unsigned i = 0; i < n; i++) {
    BkQmpRequest *request = g_new0 (BkQmpRequest, 1);
    request->id = ++client->last_id;
    request->batch = batch;
    request->call = &calls[i];
    request->oob = calls[i].oob && client->has_oob;
    request->has_fd = calls[i].fd >= 0;
    request->text = g_string_new (NULL);
    bk_qmp_wire_format (request->text, calls[i].name, calls[i].arguments, request->id, request->oob);
    enqueue (client, request);
  }
  batch->open = n;
  bk_qmp_link_wake (client);
}

/* The caller goes away: what was not sent never will be, answers to the rest are dropped. */
static void
abandon (BkQmpBatch *batch)
{
  BkQmpClient *client = batch->client;
  for (GList *link = client->sent.head; link; link = link->next)
    if (((BkQmpRequest *)link->data)->batch == batch)
      ((BkQmpRequest *)link->data)->batch = NULL;
  for (GList *link = client->outgoing.head, *next = NULL; link; link = next) {
    BkQmpRequest *request = link->data;
    next = link->next;
    if (request->batch != batch)
      continue;
    request->batch = NULL;
    if (request->done > 0)
      continue;
    bk_qmp_request_free (request);
    g_queue_delete_link (&client->outgoing, link);
  }
  bk_qmp_link_wake (client); /* one of them may have held back others */
}

static bool
is_answered (BkQmpClient *client G_GNUC_UNUSED, gpointer data)
{
  const BkQmpBatch *batch = data;
  return batch->open == 0 || batch->lost;
}

static const char *
first_unanswered (const BkQmpCall *calls, unsigned n)
{
  for (unsigned i = 0; i < n; i++)
    if (!calls[i].answered)
      return calls[i].name;
  return "";
}

/* With the mutex. */
static gboolean
call_all_locked (BkQmpBatch *batch, BkQmpCall *calls, unsigned n, unsigned timeout_ms, GError **error)
{
  BkQmpClient *client = batch->client;
  if (batch->cancelled)
    return set_cancelled (error);
  if (client->state != BK_QMP_READY) {
    g_set_error (error, BK_ERROR, BK_ERROR_UNREACHABLE, "not connected to QEMU: %s", client->reason);
    return FALSE;
  }
  submit (batch, calls, n);
  wait_until (batch, is_answered, batch, timeout_ms);
  if (batch->open == 0)
    return TRUE;
  abandon (batch);
  const char *name = first_unanswered (calls, n);
  if (batch->lost)
    g_set_error (error, BK_ERROR, BK_ERROR_UNREACHABLE, "no answer to '%s': %s", name, batch->lost);
  else if (batch->cancelled)
    set_cancelled (error);
  else
    g_set_error (error, BK_ERROR, BK_ERROR_UNREACHABLE, "QEMU did not answer '%s' within %.3g s", name,
                 timeout_ms / 1000.0);
  return FALSE;
}

gboolean
bk_qmp_client_call_all (BkQmpClient *client, BkQmpCall *calls, unsigned n, unsigned timeout_ms,
                        GCancellable *cancellable, GError **error)
{
  g_assert (g_thread_self () != client->thread);
  BkQmpBatch batch = { .client = client };
  gulong handler = watch_cancellable (cancellable, &batch);
  g_mutex_lock (&client->mutex);
  gboolean ok = call_all_locked (&batch, calls, n, timeout_ms > 0 ? timeout_ms : CALL_MS, error);
  g_mutex_unlock (&client->mutex);
  unwatch_cancellable (cancellable, handler);
  g_free (batch.lost);
  return ok;
}

gboolean
bk_qmp_client_call (BkQmpClient *client, const char *name, json_object *arguments, json_object **result,
                    GCancellable *cancellable, GError **error)
{
  BkQmpCall call = { .name = name, .arguments = arguments, .fd = -1 };
  gboolean ok = bk_qmp_client_call_all (client, &call, 1, 0, cancellable, error);
  if (ok && call.error) {
    g_propagate_error (error, g_steal_pointer (&call.error));
    ok = FALSE;
  }
  if (result)
    *result = ok ? g_steal_pointer (&call.result) : NULL;
  bk_qmp_call_clear (&call);
  return ok;
}

/* --- watches --- */

BkQmpWatch *
bk_qmp_watch_new (BkQmpClient *client, const char *prefix)
{
  BkQmpWatch *watch = g_new0 (BkQmpWatch, 1);
  watch->client = bk_qmp_client_ref (client);
  watch->prefix = g_strdup (prefix);
  g_mutex_lock (&client->mutex);
  g_ptr_array_add (client->watches, watch);
  g_mutex_unlock (&client->mutex);
  return watch;
}

void
bk_qmp_watch_free (BkQmpWatch *watch)
{
  if (watch == NULL)
    return;
  g_mutex_lock (&watch->client->mutex);
  g_ptr_array_remove_fast (watch->client->watches, watch);
  g_mutex_unlock (&watch->client->mutex);
  bk_qmp_client_unref (watch->client);
  g_free (watch->prefix);
  g_free (watch);
}

static bool
is_over (BkQmpClient *client G_GNUC_UNUSED, gpointer data)
{
  const BkQmpWatch *watch = data;
  return watch->happened || watch->woken;
}

gboolean
bk_qmp_watch_wait (BkQmpWatch *watch, unsigned timeout_ms, GCancellable *cancellable)
{
  BkQmpClient *client = watch->client;
  g_assert (g_thread_self () != client->thread);
  BkQmpBatch batch = { .client = client };
  gulong handler = watch_cancellable (cancellable, &batch);
  g_mutex_lock (&client->mutex);
  wait_until (&batch, is_over, watch, timeout_ms);
  gboolean happened = watch->happened;
  watch->happened = false;
  watch->woken = false;
  g_mutex_unlock (&client->mutex);
  unwatch_cancellable (cancellable, handler);
  return happened;
}

void
bk_qmp_watch_wake (BkQmpWatch *watch)
{
  g_mutex_lock (&watch->client->mutex);
  watch->woken = true;
  g_cond_broadcast (&watch->client->changed);
  g_mutex_unlock (&watch->client->mutex);
}
