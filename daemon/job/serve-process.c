/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "serve-process.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/un.h>
#include <unistd.h>

#define READY_MS 10000
#define POLL_MS 20
#define MAX_WORDS 400

struct BkServeProcess {
  GSubprocess *child;
  GCancellable *over;
  BkServeAddress address;
  BkServeReady ready;
  BkServeEnded ended;
  gpointer user_data;
  unsigned timer;
  int64_t deadline;
  bool is_ready;
};

/* --- addresses --- */

void
bk_serve_address_clear (BkServeAddress *address)
{
  g_clear_pointer (&address->socket, g_free);
  g_clear_pointer (&address->host, g_free);
  g_clear_pointer (&address->pid_file, g_free);
}

static gboolean
init_unix (BkServeAddress *address, const char *socket, GError **error)
{
  if (strlen (socket) >= sizeof ((struct sockaddr_un *)NULL)->sun_path) {
    g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "/listen: the path '%s' is too long for a socket; listen on tcp:127.0.0.1:0, or use a shorter state directory", socket);
    return FALSE;
  }
  address->socket = g_strdup (socket);
  return TRUE;
}

/* A free one is found by taking it for a moment; one that is asked for is tried out likewise. */
static gboolean
choose_port (GInetAddress *host, BkServeAddress *address, GError **error)
{
  g_autoptr (GError) failure = NULL;
  g_autoptr (GSocketAddress) wanted = g_inet_socket_address_new (host, address->port);
  g_autoptr (GSocket) socket = g_socket_new (g_inet_address_get_family (host), G_SOCKET_TYPE_STREAM, G_SOCKET_PROTOCOL_TCP, &failure);
  if (socket && g_socket_bind (socket, wanted, TRUE, &failure)) {
    g_autoptr (GSocketAddress) bound = g_socket_get_local_address (socket, &failure);
    if (bound) {
      address->port = g_inet_socket_address_get_port (G_INET_SOCKET_ADDRESS (bound));
      return TRUE;
    }
  }
  g_set_error (error, BK_ERROR, BK_ERROR_CONFLICT, "/listen: port %u cannot be had: %s", address->port, failure->message);
  return FALSE;
}

static gboolean
init_tcp (BkServeAddress *address, const char *listen, GError **error)
{
  uint64_t port = 0;
  const char *host = listen + strlen ("tcp:"), *colon = strrchr (host, ':');
  g_autofree char *name = colon && host[0] == '[' && colon[-1] == ']' ? g_strndup (host + 1, (size_t)(colon - host) - 2)
                          : colon                                     ? g_strndup (host, (size_t)(colon - host))
                                                                      : NULL;
  g_autoptr (GInetAddress) inet = name ? g_inet_address_new_from_string (strcmp (name, "localhost") == 0 ? "127.0.0.1" : name) : NULL;
  if (inet == NULL || !g_ascii_string_to_unsigned (colon + 1, 10, 0, G_MAXUINT16, &port, NULL)) {
    g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "/listen: '%s' is no address; write unix, or tcp:127.0.0.1:PORT", listen);
    return FALSE;
  }
  if (!g_inet_address_get_is_loopback (inet)) {
    g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "/listen: '%s' is not of this host alone; what is served is not protected: use a loopback address", name);
    return FALSE;
  }
  address->host = g_inet_address_to_string (inet);
  address->port = (uint16_t)port;
  return choose_port (inet, address, error);
}

gboolean
bk_serve_address_init (BkServeAddress *address, const char *listen, const char *socket, GError **error)
{
  *address = (BkServeAddress){ .pid_file = g_strconcat (socket, ".pid", NULL) };
  if (listen == NULL || strcmp (listen, "unix") == 0)
    return init_unix (address, socket, error);
  if (g_str_has_prefix (listen, "tcp:"))
    return init_tcp (address, listen, error);
  g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "/listen: '%s' is no address; write unix, or tcp:127.0.0.1:PORT", listen);
  return FALSE;
}

char *
bk_serve_address_uri (const BkServeAddress *address, const char *export_name)
{
  g_autofree char *name = g_uri_escape_string (export_name, NULL, FALSE);
  if (address->socket) {
    g_autofree char *socket = g_uri_escape_string (address->socket, "/", FALSE);
    return g_strdup_printf ("nbd+unix:///%s?socket=%s", name, socket);
  }
  bool six = strchr (address->host, ':') != NULL;
  return g_strdup_printf ("nbd://%s%s%s:%u/%s", six ? "[" : "", address->host, six ? "]" : "", address->port, name);
}

/* --- commands --- */

/* "backupd" is the installed plugin; beside a daemon that runs from where it was built is its own. */
char *
bk_serve_find_plugin (void)
{
  const char *named = g_getenv ("BACKUPD_NBDKIT_PLUGIN");
  if (named)
    return g_strdup (named);
  g_autofree char *program = g_file_read_link ("/proc/self/exe", NULL);
  g_autofree char *folder = program ? g_path_get_dirname (program) : NULL;
  g_autofree char *built = folder ? g_build_filename (folder, "rescue", "nbdkit-backupd-plugin.so", NULL) : NULL;
  return built && g_file_test (built, G_FILE_TEST_EXISTS) ? g_steal_pointer (&built) : g_strdup ("backupd");
}

static void
add (GPtrArray *words, const char *format, ...) G_GNUC_PRINTF (2, 3);

static void
add (GPtrArray *words, const char *format, ...)
{
  va_list list;
  va_start (list, format);
  g_ptr_array_add (words, g_strdup_vprintf (format, list));
  va_end (list);
}

GStrv
bk_serve_command_dedup (const BkServeAddress *address, const BkRepositoryInfo *kept, const char *backup, const char *disk)
{
  GPtrArray *words = g_ptr_array_new ();
  g_autofree char *plugin = bk_serve_find_plugin ();
  add (words, "nbdkit");
  add (words, "--foreground");
  add (words, "--readonly");
  add (words, "--exit-with-parent");
  add (words, "--export-name=%s", disk);
  add (words, "--pidfile=%s", address->pid_file);
  if (address->socket)
    add (words, "--unix=%s", address->socket);
  else {
    add (words, "--ipaddr=%s", address->host);
    add (words, "--port=%u", address->port);
  }
  add (words, "%s", plugin);
  add (words, "repository=%s", kept->path);
  add (words, "backup=%s", backup);
  add (words, "disk=%s", disk);
  if (kept->passphrase_file)
    add (words, "passphrase-file=%s", kept->passphrase_file);
  if (kept->key_file)
    add (words, "key-file=%s", kept->key_file);
  g_ptr_array_add (words, NULL);
  return (GStrv)g_ptr_array_free (words, FALSE);
}

GStrv
bk_serve_command_image (const BkServeAddress *address, const char *image, const char *export_name)
{
  GPtrArray *words = g_ptr_array_new ();
  add (words, "qemu-nbd");
  add (words, "--read-only");
  add (words, "--persistent");
  add (words, "--shared=16");
  add (words, "--format=qcow2");
  add (words, "--export-name=%s", export_name);
  add (words, "--pid-file=%s", address->pid_file);
  if (address->socket)
    add (words, "--socket=%s", address->socket);
  else {
    add (words, "--bind=%s", address->host);
    add (words, "--port=%u", address->port);
  }
  add (words, "%s", image);
  g_ptr_array_add (words, NULL);
  return (GStrv)g_ptr_array_free (words, FALSE);
}

/* --- the process --- */

static void
end_with_parent (gpointer user_data G_GNUC_UNUSED)
{
  prctl (PR_SET_PDEATHSIG, SIGTERM);
}

/* The last line that it wrote; (transfer full). */
static char *
last_words (GSubprocess *child)
{
  char buffer[MAX_WORDS];
  gsize length = 0;
  if (!g_input_stream_read_all (g_subprocess_get_stderr_pipe (child), buffer, sizeof buffer - 1, &length, NULL, NULL))
    length = 0;
  buffer[length] = '\0';
  /* The line that says "error" where there is one: advice may follow it. */
  const char *line = strstr (buffer, "error: ");
  line = line ? line : buffer;
  buffer[line - buffer + (long)strcspn (line, "\n")] = '\0';
  return g_strdup (line[0] ? line : "it has ended without a word");
}

/* That somebody can be connected to at its address proves nothing: it may be another program. */
static bool
listens (const BkServeProcess *process)
{
  g_autofree char *text = NULL;
  const char *id = g_subprocess_get_identifier (process->child);
  return id && g_file_get_contents (process->address.pid_file, &text, NULL, NULL) && strcmp (g_strchomp (text), id) == 0;
}

static gboolean
on_poll (gpointer user_data)
{
  BkServeProcess *process = user_data;
  g_autoptr (GError) error = NULL;
  bool late = g_get_monotonic_time () > process->deadline;
  if (!listens (process) && !late)
    return G_SOURCE_CONTINUE;
  process->timer = 0;
  process->is_ready = !late;
  if (late)
    g_set_error_literal (&error, BK_ERROR, BK_ERROR_FAILED, "the server did not come up in time");
  process->ready (error, process->user_data);
  return G_SOURCE_REMOVE;
}

static void
on_child_ended (GObject *source, GAsyncResult *result, gpointer user_data)
{
  g_autoptr (GError) cancelled = NULL;
  g_autoptr (GError) error = NULL;
  GSubprocess *child = G_SUBPROCESS (source);
  if (!g_subprocess_wait_finish (child, result, &cancelled))
    return; /* it is freed, or about to be */
  BkServeProcess *process = user_data;
  g_autofree char *words = last_words (child);
  g_clear_handle_id (&process->timer, g_source_remove);
  if (process->is_ready) {
    process->ended (words, process->user_data);
    return;
  }
  bool taken = strstr (words, g_strerror (EADDRINUSE)) != NULL;
  g_set_error (&error, BK_ERROR, taken ? BK_ERROR_CONFLICT : BK_ERROR_FAILED, "the server could not be started: %s", words);
  process->ready (error, process->user_data);
}

BkServeProcess *
bk_serve_process_new (GStrv command, const BkServeAddress *address, BkServeReady ready, BkServeEnded ended, gpointer user_data, GError **error)
{
  g_autoptr (GError) failure = NULL;
  g_autoptr (GSubprocessLauncher) launcher = g_subprocess_launcher_new (G_SUBPROCESS_FLAGS_STDERR_PIPE | G_SUBPROCESS_FLAGS_STDOUT_SILENCE);
  g_subprocess_launcher_set_child_setup (launcher, end_with_parent, NULL, NULL);
  GSubprocess *child = g_subprocess_launcher_spawnv (launcher, (const char *const *)command, &failure);
  if (child == NULL) {
    g_set_error (error, BK_ERROR, BK_ERROR_FAILED, "cannot start %s: %s; is it installed?", command[0], failure->message);
    return NULL;
  }
  BkServeProcess *process = g_new0 (BkServeProcess, 1);
  process->child = child;
  process->over = g_cancellable_new ();
  process->address = (BkServeAddress){ g_strdup (address->socket), g_strdup (address->host), address->port, g_strdup (address->pid_file) };
  process->ready = ready;
  process->ended = ended;
  process->user_data = user_data;
  process->deadline = g_get_monotonic_time () + READY_MS * G_TIME_SPAN_MILLISECOND;
  process->timer = g_timeout_add (POLL_MS, on_poll, process);
  g_subprocess_wait_async (child, process->over, on_child_ended, process);
  return process;
}

void
bk_serve_process_free (BkServeProcess *process)
{
  g_clear_handle_id (&process->timer, g_source_remove);
  g_cancellable_cancel (process->over);
  g_subprocess_force_exit (process->child);
  if (!g_subprocess_wait (process->child, NULL, NULL))
    g_debug ("a server is gone already");
  if (process->address.socket)
    unlink (process->address.socket);
  unlink (process->address.pid_file);
  bk_serve_address_clear (&process->address);
  g_object_unref (process->child);
  g_object_unref (process->over);
  g_free (process);
}
