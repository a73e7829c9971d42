/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "qcow2-sink.h"

#include "fsio.h"
#include "nbd-sink.h"

#include <errno.h>
#include <gio/gio.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#define START_MS 10000 /* for the server to listen */
#define POLL_US 5000
#define END_US (2 * G_USEC_PER_SEC) /* for it to end by itself when its last client has gone */

typedef struct {
  BkSink sink;
  char *path;
  char *folder, *socket; /* of the server */
  GSubprocess *server;
  BkSink *inner; /* NBD */
  bool interrupted; /* atomic */
} Qcow2Sink;

/* --- the server --- */

/* In the child: it ends with the thread that made it, however that ends. */
static void
end_with_parent (gpointer user_data G_GNUC_UNUSED)
{
  prctl (PR_SET_PDEATHSIG, SIGKILL);
}

static gboolean
start_server (Qcow2Sink *self, GError **error)
{
  const char *named = g_getenv ("BACKUPD_QEMU_NBD");
  g_autoptr (GError) failure = NULL;
  g_autoptr (GSubprocessLauncher) launcher = g_subprocess_launcher_new (G_SUBPROCESS_FLAGS_STDERR_PIPE | G_SUBPROCESS_FLAGS_STDOUT_SILENCE);
  g_subprocess_launcher_set_child_setup (launcher, end_with_parent, NULL, NULL);
  self->folder = g_dir_make_tmp ("backupd-nbd-XXXXXX", &failure);
  if (self->folder) {
    self->socket = g_build_filename (self->folder, "s", NULL);
    /* No flush of the guest's kind is needed but the last: we sync at the end. */
    const char *arguments[] = { named ? named : "qemu-nbd", "-f", "qcow2", "--cache=writeback", "--discard=unmap", "--detect-zeroes=off",
                                "-k", self->socket, "-x", "", self->path, NULL };
    self->server = g_subprocess_launcher_spawnv (launcher, arguments, &failure);
  }
  if (self->server)
    return TRUE;
  g_set_error (error, BK_ERROR, BK_ERROR_FAILED, "cannot start qemu-nbd for '%s': %s", self->path, failure->message);
  return FALSE;
}

/* What it said before it ended; (transfer full). */
static char *
last_words (GSubprocess *server)
{
  char buffer[1024];
  gsize length = 0;
  if (!g_input_stream_read_all (g_subprocess_get_stderr_pipe (server), buffer, sizeof buffer - 1, &length, NULL, NULL))
    length = 0;
  buffer[length] = '\0';
  buffer[strcspn (buffer, "\n")] = '\0';
  return g_strdup (length ? buffer : "it said nothing");
}

static bool
has_ended (GSubprocess *server)
{
  const char *pid = g_subprocess_get_identifier (server);
  return pid == NULL || (kill ((pid_t)g_ascii_strtoll (pid, NULL, 10), 0) < 0 && errno == ESRCH);
}

static gboolean
tell_last_words (Qcow2Sink *self, GError **error)
{
  g_subprocess_force_exit (self->server);
  g_autofree char *words = last_words (self->server);
  g_set_error (error, BK_ERROR, BK_ERROR_FAILED, "qemu-nbd does not serve '%s': %s", self->path, words);
  return FALSE;
}

static gboolean
wait_for_socket (Qcow2Sink *self, GCancellable *cancellable, GError **error)
{
  int64_t end = g_get_monotonic_time () + START_MS * G_TIME_SPAN_MILLISECOND;
  while (!g_file_test (self->socket, G_FILE_TEST_EXISTS)) {
    bool late = g_get_monotonic_time () > end;
    if (late || has_ended (self->server))
      return tell_last_words (self, error);
    if (g_cancellable_is_cancelled (cancellable) || __atomic_load_n (&self->interrupted, __ATOMIC_RELAXED)) {
      g_set_error_literal (error, BK_ERROR, BK_ERROR_CANCELLED, "cancelled");
      return FALSE;
    }
    g_usleep (POLL_US);
  }
  return TRUE;
}

/* It ends when its client has gone, with the image complete; what does not is killed. */
static void
end_server (Qcow2Sink *self)
{
  g_clear_pointer (&self->inner, bk_sink_free);
  if (self->server) {
    int64_t end = g_get_monotonic_time () + END_US;
    while (!has_ended (self->server) && g_get_monotonic_time () < end)
      g_usleep (POLL_US);
    g_subprocess_force_exit (self->server);
    if (!g_subprocess_wait (self->server, NULL, NULL))
      g_debug ("qemu-nbd of '%s' is gone", self->path);
    g_clear_object (&self->server);
  }
  if (self->socket)
    unlink (self->socket);
  if (self->folder)
    rmdir (self->folder);
  g_clear_pointer (&self->socket, g_free);
  g_clear_pointer (&self->folder, g_free);
}

/* --- the sink --- */

static gboolean
check_size (const Qcow2Sink *self, GError **error)
{
  if (self->inner->size == self->sink.size)
    return TRUE;
  g_set_error (error, BK_ERROR, BK_ERROR_FAILED, "'%s' has another size than it was made with", self->path);
  return FALSE;
}

static gboolean
open_sink (BkSink *sink, unsigned workers, GCancellable *cancellable, GError **error)
{
  Qcow2Sink *self = (Qcow2Sink *)sink;
  if (!start_server (self, error) || !wait_for_socket (self, cancellable, error))
    return FALSE;
  const BkNbdAddress address = { .socket_path = self->socket };
  const BkNbdSinkOptions options = { .is_zero = true };
  g_autoptr (GError) failure = NULL;
  self->inner = bk_nbd_sink_new (&address, &options, cancellable, &failure);
  if (self->inner == NULL) { /* it listens before it opens the image */
    if (!g_error_matches (failure, BK_ERROR, BK_ERROR_CANCELLED))
      return tell_last_words (self, error);
    g_propagate_error (error, g_steal_pointer (&failure));
    return FALSE;
  }
  return check_size (self, error) && bk_sink_open (self->inner, workers, cancellable, error);
}

static gboolean
write_range (BkSink *sink, unsigned worker, uint64_t offset, const void *data, size_t length, GError **error)
{
  return bk_sink_write (((Qcow2Sink *)sink)->inner, worker, offset, data, length, error);
}

static gboolean
zero_range (BkSink *sink, unsigned worker, uint64_t offset, uint64_t length, GError **error)
{
  return bk_sink_zero (((Qcow2Sink *)sink)->inner, worker, offset, length, error);
}

static gboolean
finish (BkSink *sink, GCancellable *cancellable, GError **error)
{
  Qcow2Sink *self = (Qcow2Sink *)sink;
  if (!bk_sink_finish (self->inner, cancellable, error))
    return FALSE;
  end_server (self);
  return bk_fsio_sync (self->path, error);
}

static void
interrupt_sink (BkSink *sink)
{
  Qcow2Sink *self = (Qcow2Sink *)sink;
  __atomic_store_n (&self->interrupted, true, __ATOMIC_RELAXED);
  if (self->inner)
    bk_sink_interrupt (self->inner);
}

static void
free_sink (BkSink *sink)
{
  Qcow2Sink *self = (Qcow2Sink *)sink;
  end_server (self);
  g_free (self->path);
  g_free (self);
}

static const BkSinkOps qcow2_sink_ops = {
  .name = "qcow2",
  .open = open_sink,
  .write = write_range,
  .zero = zero_range,
  .finish = finish,
  .interrupt = interrupt_sink,
  .free = free_sink,
};

BkSink *
bk_qcow2_sink_new (const char *path, uint64_t size)
{
  Qcow2Sink *self = g_new0 (Qcow2Sink, 1);
  self->sink = (BkSink){ .ops = &qcow2_sink_ops, .size = size, .block = 65536 };
  self->path = g_strdup (path);
  return &self->sink;
}
