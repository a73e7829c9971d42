/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The connection of a QMP client: made, greeted, negotiated, read, written, lost and tried again. Main thread only.
 */
#include "qmp-client-private.h"

#include <errno.h>
#include <gio/gunixfdmessage.h>
#include <gio/gunixsocketaddress.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#define GREETING_MS 2000
/* QEMU answers qmp_capabilities from its main loop, which may be held up by a drain for some time. */
#define NEGOTIATION_MS 10000
#define RETRY_MIN_MS 250
#define RETRY_MAX_MS 30000
#define READ_SIZE (64u << 10)
#define VECTORS_MAX 64

/* Of the capability negotiation; calls count from 1. */
#define NEGOTIATION_ID 0

static void connect_now (BkQmpClient *client);
static void fail_connection (BkQmpClient *client, BkQmpState state, const char *reason);

/* --- sources --- */

static void
clear_source (GSource **source)
{
  if (*source == NULL)
    return;
  g_source_destroy (*source);
  g_clear_pointer (source, g_source_unref);
}

static void
set_timer (BkQmpClient *client, unsigned milliseconds, GSourceFunc function)
{
  clear_source (&client->timer);
  client->timer = g_timeout_source_new (milliseconds);
  g_source_set_callback (client->timer, function, client, NULL);
  g_source_attach (client->timer, client->context);
}

static GSource *
watch_socket (BkQmpClient *client, GIOCondition condition, GSocketSourceFunc function)
{
  GSource *source = g_socket_create_source (client->socket, condition, NULL);
  g_source_set_callback (source, G_SOURCE_FUNC (function), client, NULL);
  g_source_attach (source, client->context);
  return source;
}

/* --- state --- */

/* Tells workers and watches. With the mutex. */
static void
announce (BkQmpClient *client)
{
  for (guint i = 0; i < client->watches->len; i++)
    ((BkQmpWatch *)client->watches->pdata[i])->happened = true;
  g_cond_broadcast (&client->changed);
}

/* Returns whether it is another state than before. With the mutex. */
static bool
enter (BkQmpClient *client, BkQmpState state, const char *reason)
{
  bool other = client->state != state;
  client->state = state;
  g_free (client->reason);
  client->reason = g_strdup (reason);
  if (state == BK_QMP_READY)
    client->generation++;
  announce (client);
  return other;
}

/* Last thing to do in a function: the notify function may stop the client. */
static void
notify (BkQmpClient *client, BkQmpState state)
{
  if (client->notify)
    client->notify (client, state, client->user_data);
}

static void
set_state (BkQmpClient *client, BkQmpState state, const char *reason)
{
  g_mutex_lock (&client->mutex);
  bool other = enter (client, state, reason);
  g_mutex_unlock (&client->mutex);
  if (other)
    notify (client, state);
}

static void
lose_requests (GQueue *queue, const char *reason)
{
  for (BkQmpRequest *request = g_queue_pop_head (queue); request; request = g_queue_pop_head (queue)) {
    if (request->batch && request->batch->lost == NULL)
      request->batch->lost = g_strdup (reason);
    bk_qmp_request_free (request);
  }
}

/* Takes the connection down; waiting calls end with @reason. The state changes along, so that no call slips in
 * that would be sent on the next connection. Returns whether it is another state than before. */
static bool
drop_connection (BkQmpClient *client, BkQmpState state, const char *reason)
{
  clear_source (&client->input);
  clear_source (&client->output);
  clear_source (&client->timer);
  g_clear_pointer (&client->wire, bk_qmp_wire_free);
  g_clear_object (&client->socket);
  client->phase = PHASE_IDLE;
  g_mutex_lock (&client->mutex);
  client->has_oob = false;
  lose_requests (&client->outgoing, reason);
  lose_requests (&client->sent, reason);
  bool other = enter (client, state, reason);
  g_mutex_unlock (&client->mutex);
  return other;
}

static gboolean
on_retry (gpointer data)
{
  BkQmpClient *client = data;
  clear_source (&client->timer);
  connect_now (client);
  return G_SOURCE_REMOVE;
}

static void
fail_connection (BkQmpClient *client, BkQmpState state, const char *reason)
{
  bool other = drop_connection (client, state, reason);
  set_timer (client, client->retry_ms, on_retry);
  client->retry_ms = MIN (client->retry_ms * 2, RETRY_MAX_MS);
  if (other)
    notify (client, state);
}

/* --- writing --- */

/* QEMU keeps the descriptors of one message only: a second message with some, read before the command of the
 * first has run, would close them. So at most one such command is under way. */
static bool
must_hold_back (BkQmpClient *client, const BkQmpRequest *request)
{
  if (!request->has_fd || request->done > 0)
    return false;
  for (GList *link = client->sent.head; link; link = link->next)
    if (((BkQmpRequest *)link->data)->has_fd)
      return true;
  return false;
}

static GOutputVector
rest_of (const BkQmpRequest *request)
{
  return (GOutputVector){ request->text->str + request->done, request->text->len - request->done };
}

static gssize
send_with_fd (GSocket *socket, const BkQmpRequest *request, GError **error)
{
  GOutputVector vector = rest_of (request);
  g_autoptr (GSocketControlMessage) message = g_unix_fd_message_new ();
  if (!g_unix_fd_message_append_fd (G_UNIX_FD_MESSAGE (message), request->call->fd, error))
    return -1;
  return g_socket_send_message (socket, NULL, &vector, 1, &message, 1, 0, NULL, error);
}

/* What is together in the queue goes out together: whoever kills us after "stop" finds "cont" with QEMU. */
static gssize
send_some (BkQmpClient *client, GError **error)
{
  GOutputVector vectors[VECTORS_MAX];
  int n = 0;
  const BkQmpRequest *first = g_queue_peek_head (&client->outgoing);
  if (first->has_fd && first->done == 0)
    return send_with_fd (client->socket, first, error);
  for (GList *link = client->outgoing.head; link && n < VECTORS_MAX && (n == 0 || !((BkQmpRequest *)link->data)->has_fd); link = link->next)
    vectors[n++] = rest_of (link->data);
  return g_socket_send_message (client->socket, NULL, vectors, n, NULL, 0, 0, NULL, error);
}

static void
note_sent (BkQmpClient *client, size_t count)
{
  while (count > 0) {
    BkQmpRequest *request = g_queue_peek_head (&client->outgoing);
    size_t part = MIN (count, request->text->len - request->done);
    request->done += part;
    count -= part;
    if (request->done == request->text->len)
      g_queue_push_tail (&client->sent, g_queue_pop_head (&client->outgoing));
  }
}

/* Writes what can be written; returns whether the socket has to be waited for. A connection that fails here
 * is left to the reading side, which first takes in what the peer had still to say. With the mutex. */
static bool
write_requests (BkQmpClient *client)
{
  for (BkQmpRequest *request = g_queue_peek_head (&client->outgoing); request;
       request = g_queue_peek_head (&client->outgoing)) {
    if (must_hold_back (client, request))
      return false;
    g_autoptr (GError) error = NULL;
    gssize count = send_some (client, &error);
    if (count < 0)
      return g_error_matches (error, G_IO_ERROR, G_IO_ERROR_WOULD_BLOCK);
    note_sent (client, (size_t)count);
  }
  return false;
}

static gboolean on_output (GSocket *socket, GIOCondition condition, gpointer data);

static void
write_out (BkQmpClient *client)
{
  if (client->socket == NULL)
    return;
  g_mutex_lock (&client->mutex);
  bool wait = write_requests (client);
  g_mutex_unlock (&client->mutex);
  if (!wait)
    clear_source (&client->output);
  else if (client->output == NULL)
    client->output = watch_socket (client, G_IO_OUT, on_output);
}

static gboolean
on_output (GSocket *socket G_GNUC_UNUSED, GIOCondition condition G_GNUC_UNUSED, gpointer data)
{
  write_out (data);
  return G_SOURCE_CONTINUE;
}

/* --- reading --- */

static const char *
get_string (json_object *object, const char *member)
{
  json_object *value = NULL;
  if (!json_object_object_get_ex (object, member, &value) || !json_object_is_type (value, json_type_string))
    return NULL;
  return json_object_get_string (value);
}

static bool
watch_concerns (const BkQmpWatch *watch, json_object *data)
{
  static const char *const members[] = { "id", "device", "node-name" };
  for (size_t i = 0; i < G_N_ELEMENTS (members); i++) {
    const char *name = get_string (data, members[i]);
    if (name && g_str_has_prefix (name, watch->prefix))
      return true;
  }
  return false;
}

static void
handle_event (BkQmpClient *client, const char *name, json_object *message)
{
  json_object *data = NULL;
  json_object_object_get_ex (message, "data", &data);
  g_mutex_lock (&client->mutex);
  for (guint i = 0; i < client->watches->len; i++) {
    BkQmpWatch *watch = client->watches->pdata[i];
    watch->happened = watch->happened || watch_concerns (watch, data);
  }
  g_cond_broadcast (&client->changed);
  g_mutex_unlock (&client->mutex);
  if (client->event)
    client->event (client, name, data, client->user_data);
}

/* The request that @message answers. QEMU leaves out the ID when it could not read a command; commands are run
 * in order, except those out of band, so it is the oldest one then. */
static GList *
find_request (GQueue *sent, json_object *message)
{
  json_object *id = NULL;
  bool has_id = json_object_object_get_ex (message, "id", &id);
  for (GList *link = sent->head; link; link = link->next) {
    const BkQmpRequest *request = link->data;
    if (has_id ? request->id == json_object_get_uint64 (id) : !request->oob)
      return link;
  }
  return has_id ? NULL : sent->head;
}

static GError *
command_error (const char *command, json_object *error)
{
  const char *text = get_string (error, "desc");
  g_autofree char *line = g_strdelimit (g_strdup (text ? text : "no reason given"), "\r\n", ' ');
  return g_error_new (BK_ERROR, BK_ERROR_FAILED, "QEMU refused '%s': %s", command, g_strstrip (line));
}

static void
answer (BkQmpRequest *request, json_object *message)
{
  json_object *value = NULL;
  BkQmpCall *call = request->call;
  call->answered = TRUE;
  if (json_object_object_get_ex (message, "error", &value)) {
    call->error = command_error (call->name, value);
  } else if (json_object_object_get_ex (message, "return", &value)) {
    call->result = json_object_get (value);
    /* json-c's counts are not atomic: the worker gets the only reference, while the message goes here. */
    json_object_object_del (message, "return");
  }
  request->batch->open--;
}

static void
handle_reply (BkQmpClient *client, json_object *message)
{
  g_mutex_lock (&client->mutex);
  GList *link = find_request (&client->sent, message);
  BkQmpRequest *request = link ? link->data : NULL;
  if (link)
    g_queue_delete_link (&client->sent, link);
  if (request && request->batch)
    answer (request, message);
  g_clear_pointer (&request, bk_qmp_request_free);
  g_cond_broadcast (&client->changed);
  g_mutex_unlock (&client->mutex);
  write_out (client); /* a command with a descriptor may have waited for this one */
}

static gboolean
on_silence (gpointer data)
{
  BkQmpClient *client = data;
  bool greeted = client->phase != PHASE_GREETING;
  g_autofree char *reason
      = greeted ? g_strdup_printf ("QEMU at '%s' does not answer", client->path)
                : g_strdup_printf ("monitor '%s' is busy: another program holds it, or QEMU hangs; give backupd a QMP "
                                   "socket of its own",
                                   client->path);
  fail_connection (client, greeted ? BK_QMP_DOWN : BK_QMP_BUSY, reason);
  return G_SOURCE_REMOVE;
}

static bool
offers_oob (json_object *qmp)
{
  json_object *list = NULL;
  if (!json_object_object_get_ex (qmp, "capabilities", &list) || !json_object_is_type (list, json_type_array))
    return false;
  for (size_t i = 0; i < json_object_array_length (list); i++)
    if (g_strcmp0 (json_object_get_string (json_object_array_get_idx (list, i)), "oob") == 0)
      return true;
  return false;
}

static int
version_part (json_object *numbers, const char *name)
{
  json_object *value = NULL;
  return json_object_object_get_ex (numbers, name, &value) ? json_object_get_int (value) : 0;
}

static char *
read_version (json_object *qmp)
{
  json_object *version = NULL, *numbers = NULL;
  if (!json_object_object_get_ex (qmp, "version", &version)
      || !json_object_object_get_ex (version, "qemu", &numbers))
    return NULL;
  const char *package = get_string (version, "package");
  bool has_package = package && *package;
  return g_strdup_printf ("%d.%d.%d%s%s%s", version_part (numbers, "major"), version_part (numbers, "minor"),
                          version_part (numbers, "micro"), has_package ? " (" : "", has_package ? package : "",
                          has_package ? ")" : "");
}

static json_object *
enable_oob (void)
{
  json_object *enable = json_object_new_array ();
  json_object_array_add (enable, json_object_new_string ("oob"));
  json_object *arguments = json_object_new_object ();
  json_object_object_add (arguments, "enable", enable);
  return arguments;
}

static void
handle_greeting (BkQmpClient *client, json_object *qmp)
{
  bool oob = offers_oob (qmp);
  g_autoptr (json_object) arguments = oob ? enable_oob () : NULL;
  BkQmpRequest *request = g_new0 (BkQmpRequest, 1);
  request->id = NEGOTIATION_ID;
  request->text = g_string_new (NULL);
  bk_qmp_wire_format (request->text, "qmp_capabilities", arguments, NEGOTIATION_ID, FALSE);
  g_mutex_lock (&client->mutex);
  g_free (client->version);
  client->version = read_version (qmp);
  client->has_oob = oob;
  g_queue_push_tail (&client->outgoing, request);
  g_mutex_unlock (&client->mutex);
  client->phase = PHASE_NEGOTIATION;
  set_timer (client, NEGOTIATION_MS, on_silence);
  write_out (client);
}

static void
handle_negotiated (BkQmpClient *client, json_object *message)
{
  json_object *error = NULL;
  if (json_object_object_get_ex (message, "error", &error)) {
    g_autoptr (GError) refusal = command_error ("qmp_capabilities", error);
    fail_connection (client, BK_QMP_DOWN, refusal->message);
    return;
  }
  g_mutex_lock (&client->mutex);
  g_queue_clear_full (&client->sent, (GDestroyNotify)bk_qmp_request_free);
  g_mutex_unlock (&client->mutex);
  clear_source (&client->timer);
  client->phase = PHASE_READY;
  client->retry_ms = RETRY_MIN_MS;
  set_state (client, BK_QMP_READY, "");
}

static void
handle_message (BkQmpClient *client, json_object *message)
{
  json_object *value = NULL;
  const char *event = get_string (message, "event");
  bool is_reply = json_object_object_get_ex (message, "return", NULL) || json_object_object_get_ex (message, "error", NULL);
  if (client->phase == PHASE_GREETING && json_object_object_get_ex (message, "QMP", &value))
    handle_greeting (client, value);
  else if (client->phase == PHASE_GREETING)
    fail_connection (client, BK_QMP_DOWN, "not a QMP monitor: it did not start with a greeting");
  else if (client->phase == PHASE_NEGOTIATION && is_reply)
    handle_negotiated (client, message);
  else if (client->phase == PHASE_READY && is_reply)
    handle_reply (client, message);
  else if (client->phase == PHASE_READY && event)
    handle_event (client, event, message);
}

/* Handlers may take the connection down, or up again; @socket tells. */
static void
handle_messages (BkQmpClient *client, GSocket *socket)
{
  while (client->socket == socket) {
    g_autoptr (json_object) message = NULL;
    g_autoptr (GError) error = NULL;
    if (!bk_qmp_wire_next (client->wire, &message, &error)) {
      fail_connection (client, BK_QMP_DOWN, error->message);
      return;
    }
    if (message == NULL)
      return;
    handle_message (client, message);
  }
}

static gboolean
on_input (GSocket *socket, GIOCondition condition G_GNUC_UNUSED, gpointer data)
{
  g_autoptr (BkQmpClient) client = bk_qmp_client_ref (data);
  g_autofree char *bytes = g_malloc (READ_SIZE);
  g_autoptr (GError) error = NULL;
  gssize count = g_socket_receive (socket, bytes, READ_SIZE, NULL, &error);
  if (g_error_matches (error, G_IO_ERROR, G_IO_ERROR_WOULD_BLOCK))
    return G_SOURCE_CONTINUE;
  if (count <= 0) {
    g_autofree char *reason = g_strdup_printf ("QEMU closed the connection at '%s'", client->path);
    fail_connection (client, BK_QMP_DOWN, reason);
    return G_SOURCE_REMOVE;
  }
  bk_qmp_wire_feed (client->wire, bytes, (size_t)count);
  handle_messages (client, socket);
  return client->socket == socket ? G_SOURCE_CONTINUE : G_SOURCE_REMOVE;
}

/* --- connecting --- */

static char *
connect_reason (const char *path, const GError *error)
{
  if (g_error_matches (error, G_IO_ERROR, G_IO_ERROR_NOT_FOUND))
    return g_strdup_printf ("no such socket '%s'", path);
  if (g_error_matches (error, G_IO_ERROR, G_IO_ERROR_CONNECTION_REFUSED))
    return g_strdup_printf ("nobody listens on '%s': QEMU has ended, or is not started yet", path);
  if (g_error_matches (error, G_IO_ERROR, G_IO_ERROR_PERMISSION_DENIED))
    return g_strdup_printf ("not allowed to connect to '%s'", path);
  if (g_error_matches (error, G_IO_ERROR, G_IO_ERROR_WOULD_BLOCK))
    return g_strdup_printf ("monitor '%s' is busy: too many programs wait for it already", path);
  return g_strdup_printf ("cannot connect to '%s': %s", path, error->message);
}

static GSocket *
open_socket (const char *path, GError **error)
{
  struct sockaddr_un address;
  if (strlen (path) >= sizeof address.sun_path) {
    g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "a socket's path may have %zu bytes",
                 sizeof address.sun_path - 1);
    return NULL;
  }
  g_autoptr (GSocket) socket = g_socket_new (G_SOCKET_FAMILY_UNIX, G_SOCKET_TYPE_STREAM, G_SOCKET_PROTOCOL_DEFAULT, error);
  if (socket == NULL)
    return NULL;
  g_socket_set_blocking (socket, FALSE); /* connecting to a unix socket succeeds or fails at once */
  g_autoptr (GSocketAddress) to = g_unix_socket_address_new (path);
  if (!g_socket_connect (socket, to, NULL, error))
    return NULL;
  return g_steal_pointer (&socket);
}

static pid_t
peer_of (GSocket *socket)
{
  struct ucred peer = { 0 };
  socklen_t length = sizeof peer;
  if (getsockopt (g_socket_get_fd (socket), SOL_SOCKET, SO_PEERCRED, &peer, &length) < 0)
    return 0;
  return peer.pid;
}

static void
connect_now (BkQmpClient *client)
{
  g_autoptr (GError) error = NULL;
  GSocket *socket = open_socket (client->path, &error);
  g_mutex_lock (&client->mutex);
  client->refused = g_error_matches (error, G_IO_ERROR, G_IO_ERROR_NOT_FOUND) || g_error_matches (error, G_IO_ERROR, G_IO_ERROR_CONNECTION_REFUSED);
  g_mutex_unlock (&client->mutex);
  if (socket == NULL) {
    bool busy = g_error_matches (error, G_IO_ERROR, G_IO_ERROR_WOULD_BLOCK);
    g_autofree char *reason = connect_reason (client->path, error);
    fail_connection (client, busy ? BK_QMP_BUSY : BK_QMP_DOWN, reason);
    return;
  }
  client->socket = socket;
  client->wire = bk_qmp_wire_new (0);
  client->phase = PHASE_GREETING;
  client->input = watch_socket (client, G_IO_IN, on_input);
  set_timer (client, GREETING_MS, on_silence);
  g_mutex_lock (&client->mutex);
  client->peer_pid = peer_of (socket);
  g_mutex_unlock (&client->mutex);
}

void
bk_qmp_client_start (BkQmpClient *client)
{
  g_mutex_lock (&client->mutex);
  bool was_started = client->started;
  client->started = true;
  g_mutex_unlock (&client->mutex);
  if (was_started)
    return;
  bk_qmp_client_ref (client);
  client->retry_ms = RETRY_MIN_MS;
  set_timer (client, 0, on_retry); /* so that notify is never called from within start */
  set_state (client, BK_QMP_CONNECTING, "connecting");
}

void
bk_qmp_client_stop (BkQmpClient *client)
{
  g_mutex_lock (&client->mutex);
  bool was_started = client->started;
  client->started = false;
  g_mutex_unlock (&client->mutex);
  if (!was_started)
    return;
  if (drop_connection (client, BK_QMP_DOWN, "the connection was closed by backupd"))
    notify (client, BK_QMP_DOWN);
  bk_qmp_client_unref (client);
}

/* --- waking the main thread --- */

static gboolean
on_wake (gpointer data)
{
  BkQmpClient *client = data;
  g_mutex_lock (&client->mutex);
  client->wake_queued = false;
  bool try_now = client->poked && client->started && client->phase == PHASE_IDLE;
  client->poked = false;
  g_mutex_unlock (&client->mutex);
  if (try_now)
    on_retry (client);
  else
    write_out (client);
  return G_SOURCE_REMOVE;
}

/* Not g_main_context_invoke(), which runs the function on the calling thread while the main loop is between
 * two iterations. */
void
bk_qmp_link_wake (BkQmpClient *client)
{
  if (client->wake_queued)
    return;
  client->wake_queued = true;
  g_autoptr (GSource) source = g_idle_source_new ();
  g_source_set_priority (source, G_PRIORITY_DEFAULT);
  g_source_set_callback (source, on_wake, bk_qmp_client_ref (client), (GDestroyNotify)bk_qmp_client_unref);
  g_source_attach (source, client->context);
}

void
bk_qmp_client_poke (BkQmpClient *client)
{
  g_mutex_lock (&client->mutex);
  client->poked = true;
  bk_qmp_link_wake (client);
  g_mutex_unlock (&client->mutex);
}
