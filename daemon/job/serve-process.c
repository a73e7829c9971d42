/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "serve-process.h"

#include <errno.h>
#include <gio/gunixsocketaddress.h>
#include <glib-unix.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define READY_SECONDS 20
#define GREETING "NBDMAGIC"
#define PID_DIGITS 20
#define REASON_MAX 1024
#define LISTEN_FD 3 /* where a server expects its socket */

struct BkServeProcess {
  GSocketAddress *address;
  char *uri, *socket_path; /* socket_path NULL = TCP */
  GPid pid;                /* 0 = it has ended and is reaped */
  unsigned child_watch, output_watch, timeout;
  int output;      /* its stderr, -1 = at its end */
  GString *line;   /* of it, not complete */
  GString *reason; /* the last complete one */
  GTask *waiting;  /* for the greeting */
  GCancellable *probe;
  BkServeEnded ended;
  gpointer user_data;
};

/* --- the address --- */

static gboolean
refuse_address (const char *listen, GError **error)
{
  g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "a disk is served on unix or tcp:HOST:PORT, HOST an address of this host alone (127.0.0.1, [::1] or localhost), not on '%s'", listen);
  return FALSE;
}

static GInetAddress *
parse_host (const char *host)
{
  if (strcmp (host, "localhost") == 0)
    return g_inet_address_new_loopback (G_SOCKET_FAMILY_IPV4);
  size_t length = strlen (host);
  bool bracketed = length > 2 && host[0] == '[' && host[length - 1] == ']';
  g_autofree char *inside = bracketed ? g_strndup (host + 1, length - 2) : g_strdup (host);
  return g_inet_address_new_from_string (inside);
}

static GSocketAddress *
parse_tcp (const char *listen, GError **error)
{
  const char *colon = strrchr (listen, ':');
  guint64 port = 0;
  if (!g_str_has_prefix (listen, "tcp:") || colon == listen + 3 || !g_ascii_string_to_unsigned (colon + 1, 10, 0, G_MAXUINT16, &port, NULL))
    return refuse_address (listen, error), NULL;
  g_autofree char *host = g_strndup (listen + 4, (size_t)(colon - listen - 4));
  g_autoptr (GInetAddress) address = parse_host (host);
  if (address == NULL || !g_inet_address_get_is_loopback (address))
    return refuse_address (listen, error), NULL;
  return g_inet_socket_address_new (address, (guint16)port);
}

static GSocketAddress *
parse_unix (const char *socket_path, GError **error)
{
  if (strlen (socket_path) < sizeof ((struct sockaddr_un *)0)->sun_path)
    return g_unix_socket_address_new (socket_path);
  g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "'%s' is too long for a unix socket; serve it on tcp:127.0.0.1:0", socket_path);
  return NULL;
}

static GSocketAddress *
parse_listen (const char *listen, const char *socket_path, GError **error)
{
  return listen == NULL || strcmp (listen, "unix") == 0 ? parse_unix (socket_path, error) : parse_tcp (listen, error);
}

static char *
make_uri (GSocketAddress *address)
{
  if (G_IS_UNIX_SOCKET_ADDRESS (address)) {
    g_autofree char *path = g_uri_escape_string (g_unix_socket_address_get_path (G_UNIX_SOCKET_ADDRESS (address)), "/", FALSE);
    return g_strdup_printf ("nbd+unix:///?socket=%s", path);
  }
  GInetSocketAddress *inet = G_INET_SOCKET_ADDRESS (address);
  g_autofree char *host = g_inet_address_to_string (g_inet_socket_address_get_address (inet));
  bool v6 = strchr (host, ':') != NULL;
  return g_strdup_printf (v6 ? "nbd://[%s]:%u" : "nbd://%s:%u", host, g_inet_socket_address_get_port (inet));
}

/* --- the socket --- */

static gboolean
translate_bind_error (const GError *failure, const char *listen, GError **error)
{
  bool taken = g_error_matches (failure, G_IO_ERROR, G_IO_ERROR_ADDRESS_IN_USE);
  g_set_error (error, BK_ERROR, taken ? BK_ERROR_CONFLICT : BK_ERROR_FAILED, "cannot listen on '%s'%s: %s", listen ? listen : "unix",
               taken ? ", which is taken (with port 0 a free one is chosen)" : "", failure->message);
  return FALSE;
}

/* A listening socket at @address; *@bound is the address with the port that it got. */
static GSocket *
listen_at (GSocketAddress *address, const char *listen, GSocketAddress **bound, GError **error)
{
  g_autoptr (GError) failure = NULL;
  g_autoptr (GSocket) socket = g_socket_new (g_socket_address_get_family (address), G_SOCKET_TYPE_STREAM, G_SOCKET_PROTOCOL_DEFAULT, &failure);
  if (socket && g_socket_bind (socket, address, TRUE, &failure) && g_socket_listen (socket, &failure) &&
      (*bound = g_socket_get_local_address (socket, &failure)) != NULL)
    return g_steal_pointer (&socket);
  translate_bind_error (failure, listen, error);
  return NULL;
}

/* --- the child --- */

typedef struct {
  char *pid_text; /* in the environment that the child gets, to be filled in by it */
  pid_t parent;
} Setup;

/* Between fork and exec: only what is safe there. Its number goes into the copy of the environment that is its own. */
static void
set_up_child (gpointer user_data)
{
  const Setup *setup = user_data;
  char *digit = setup->pid_text + PID_DIGITS;
  *digit = '\0';
  for (pid_t number = getpid (), n = PID_DIGITS; n > 0; n--, number /= 10)
    *--digit = (char)('0' + number % 10);
  sigset_t none;
  sigemptyset (&none);
  sigprocmask (SIG_SETMASK, &none, NULL);
  prctl (PR_SET_PDEATHSIG, SIGKILL);
  if (getppid () != setup->parent)
    _exit (127);
}

static char **
make_environment (char **pid_text)
{
  static const char name[] = "LISTEN_PID=";
  char **environment = g_environ_setenv (g_get_environ (), "LISTEN_FDS", "1", TRUE);
  environment = g_environ_unsetenv (environment, "LISTEN_FDNAMES");
  environment = g_environ_setenv (environment, "LISTEN_PID", "00000000000000000000", TRUE);
  for (size_t i = 0; environment[i]; i++)
    if (g_str_has_prefix (environment[i], name))
      *pid_text = environment[i] + sizeof name - 1;
  return environment;
}

static gboolean
spawn (BkServeProcess *process, GSocket *socket, const char *const *argv, GError **error)
{
  g_autoptr (GError) failure = NULL;
  Setup setup = { NULL, getpid () };
  g_auto (GStrv) environment = make_environment (&setup.pid_text);
  const int source = g_socket_get_fd (socket), target = LISTEN_FD;
  if (g_spawn_async_with_pipes_and_fds (NULL, argv, (const char *const *)environment, G_SPAWN_SEARCH_PATH | G_SPAWN_DO_NOT_REAP_CHILD | G_SPAWN_STDOUT_TO_DEV_NULL,
                                        set_up_child, &setup, -1, -1, -1, &source, &target, 1, &process->pid, NULL, NULL, &process->output, &failure))
    return TRUE;
  process->output = -1;
  g_set_error (error, BK_ERROR, BK_ERROR_FAILED, "%s cannot be started: %s; install the package of that name", argv[0], failure->message);
  return FALSE;
}

/* --- what it says --- */

static void
take_line (BkServeProcess *process)
{
  if (process->line->len > 0) {
    g_debug ("serve %s: %s", process->uri, process->line->str);
    g_string_assign (process->reason, process->line->str);
  }
  g_string_truncate (process->line, 0);
}

/* Until there is nothing more for now; FALSE at its end. */
static bool
read_output (BkServeProcess *process)
{
  char buffer[1024];
  ssize_t n = 0;
  while ((n = read (process->output, buffer, sizeof buffer)) > 0)
    for (ssize_t i = 0; i < n; i++)
      if (buffer[i] == '\n' || process->line->len >= REASON_MAX)
        take_line (process);
      else
        g_string_append_c (process->line, buffer[i]);
  return n < 0 && (errno == EAGAIN || errno == EINTR);
}

static gboolean
on_output (int fd G_GNUC_UNUSED, GIOCondition condition G_GNUC_UNUSED, gpointer user_data)
{
  BkServeProcess *process = user_data;
  if (read_output (process))
    return G_SOURCE_CONTINUE;
  process->output_watch = 0;
  return G_SOURCE_REMOVE;
}

/* --- its end --- */

static void
fail_waiting (BkServeProcess *process, BkErrorCode code, const char *message)
{
  g_autoptr (GTask) task = g_steal_pointer (&process->waiting);
  g_cancellable_cancel (process->probe);
  g_clear_handle_id (&process->timeout, g_source_remove);
  if (task)
    g_task_return_new_error (task, BK_ERROR, (int)code, "%s", message);
}

/* "nbdkit: backupd: error: no such disk" without who says it. */
static char *
describe_end (BkServeProcess *process, int status)
{
  const char *said = strstr (process->reason->str, "error: ");
  if (process->reason->len > 0)
    return g_strdup (said ? said + strlen ("error: ") : process->reason->str);
  return WIFSIGNALED (status) ? g_strdup_printf ("the server was ended by signal %d", WTERMSIG (status))
                              : g_strdup_printf ("the server ended with status %d", WEXITSTATUS (status));
}

static void
on_child_ended (GPid pid, int status, gpointer user_data)
{
  BkServeProcess *process = user_data;
  g_spawn_close_pid (pid);
  process->pid = 0;
  process->child_watch = 0;
  read_output (process);
  take_line (process);
  g_autofree char *reason = describe_end (process, status);
  if (process->waiting)
    fail_waiting (process, BK_ERROR_FAILED, reason);
  else
    process->ended (process, reason, process->user_data);
}

/* --- the greeting --- */

static gboolean
on_timeout (gpointer user_data)
{
  BkServeProcess *process = user_data;
  process->timeout = 0;
  fail_waiting (process, BK_ERROR_FAILED, "the server did not greet a client within 20 seconds");
  return G_SOURCE_REMOVE;
}

/* One connection that only reads the first bytes. It has its own life: the process may go before it comes back. */
typedef struct {
  GSocketConnection *connection;
  GCancellable *cancellable;
  BkServeProcess *process; /* valid unless cancelled */
  char greeting[sizeof GREETING - 1];
} Probe;

static void
probe_free (Probe *probe)
{
  g_clear_object (&probe->connection);
  g_object_unref (probe->cancellable);
  g_free (probe);
}

/* Where it fails, the server has ended or soon will: its end, or the timeout, says why. */
static void
on_greeting (GObject *source, GAsyncResult *result, gpointer user_data)
{
  Probe *probe = user_data;
  size_t length = 0;
  gboolean read = g_input_stream_read_all_finish (G_INPUT_STREAM (source), result, &length, NULL);
  if (!g_cancellable_is_cancelled (probe->cancellable) && read && length == sizeof probe->greeting &&
      memcmp (probe->greeting, GREETING, length) == 0) {
    g_autoptr (GTask) task = g_steal_pointer (&probe->process->waiting);
    g_clear_handle_id (&probe->process->timeout, g_source_remove);
    g_task_return_boolean (task, TRUE);
  }
  probe_free (probe);
}

static void
on_connected (GObject *source, GAsyncResult *result, gpointer user_data)
{
  Probe *probe = user_data;
  probe->connection = g_socket_client_connect_finish (G_SOCKET_CLIENT (source), result, NULL);
  if (probe->connection == NULL) {
    probe_free (probe);
    return;
  }
  GInputStream *input = g_io_stream_get_input_stream (G_IO_STREAM (probe->connection));
  g_input_stream_read_all_async (input, probe->greeting, sizeof probe->greeting, G_PRIORITY_DEFAULT, probe->cancellable, on_greeting, probe);
}

void
bk_serve_process_wait_async (BkServeProcess *process, GAsyncReadyCallback callback, gpointer user_data)
{
  process->waiting = g_task_new (NULL, NULL, callback, user_data);
  process->timeout = g_timeout_add_seconds (READY_SECONDS, on_timeout, process);
  Probe *probe = g_new0 (Probe, 1);
  probe->process = process;
  probe->cancellable = g_object_ref (process->probe);
  g_autoptr (GSocketClient) client = g_socket_client_new ();
  g_socket_client_set_enable_proxy (client, FALSE);
  g_socket_client_connect_async (client, G_SOCKET_CONNECTABLE (process->address), process->probe, on_connected, probe);
}

gboolean
bk_serve_process_wait_finish (GAsyncResult *result, GError **error)
{
  return g_task_propagate_boolean (G_TASK (result), error);
}

/* --- beginning and end --- */

BkServeProcess *
bk_serve_process_start (const char *listen, const char *socket_path, const char *const *argv, BkServeEnded ended, gpointer user_data,
                        GError **error)
{
  g_autoptr (GSocketAddress) address = parse_listen (listen, socket_path, error);
  g_autoptr (GSocketAddress) bound = NULL;
  g_autoptr (GSocket) socket = address ? listen_at (address, listen, &bound, error) : NULL;
  if (socket == NULL)
    return NULL;
  g_socket_set_blocking (socket, TRUE);
  g_autoptr (BkServeProcess) process = g_new0 (BkServeProcess, 1);
  process->address = g_object_ref (bound);
  process->uri = make_uri (bound);
  process->socket_path = G_IS_UNIX_SOCKET_ADDRESS (bound) ? g_strdup (socket_path) : NULL;
  process->output = -1;
  process->line = g_string_new (NULL);
  process->reason = g_string_new (NULL);
  process->probe = g_cancellable_new ();
  process->ended = ended;
  process->user_data = user_data;
  if (!spawn (process, socket, argv, error))
    return NULL;
  g_unix_set_fd_nonblocking (process->output, TRUE, NULL);
  process->output_watch = g_unix_fd_add (process->output, G_IO_IN | G_IO_HUP, on_output, process);
  process->child_watch = g_child_watch_add (process->pid, on_child_ended, process);
  return g_steal_pointer (&process);
}

const char *
bk_serve_process_uri (BkServeProcess *process)
{
  return process->uri;
}

static void
end_child (BkServeProcess *process)
{
  g_clear_handle_id (&process->child_watch, g_source_remove);
  if (process->pid == 0)
    return;
  kill (process->pid, SIGKILL); /* it only reads: there is nothing that it could leave half-done */
  while (waitpid (process->pid, NULL, 0) < 0 && errno == EINTR)
    ;
  process->pid = 0;
}

void
bk_serve_process_free (BkServeProcess *process)
{
  end_child (process);
  fail_waiting (process, BK_ERROR_CANCELLED, "it was stopped");
  g_clear_handle_id (&process->output_watch, g_source_remove);
  if (process->output >= 0)
    close (process->output);
  if (process->socket_path)
    unlink (process->socket_path);
  g_object_unref (process->address);
  g_object_unref (process->probe);
  g_string_free (process->line, TRUE);
  g_string_free (process->reason, TRUE);
  g_free (process->socket_path);
  g_free (process->uri);
  g_free (process);
}
