/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "qcow2-sink.h"

#include "fsio.h"
#include "nbd-sink.h"

#include <errno.h>
#include <fcntl.h>
#include <gio/gio.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

/* As the NBD sink's; clusters of the image are larger. */
#define BLOCK 4096
/* It has flushed by then, and has only its last metadata to write. */
#define END_S 60
#define STDERR_LIMIT 4096
/* Sockets that are handed over at the start begin with this number, and a shell tells the program that they are for it. */
#define LISTEN_FD 3
#define LISTEN_SCRIPT "LISTEN_FDS=1 LISTEN_PID=$$ exec \"$@\""

typedef struct {
  BkSink sink;
  char *path;
  GPid pid; /* 0 = none */
  int err;  /* its stderr, or -1 */
  GMutex mutex; /* for inner, beside interrupt() */
  BkSink *inner;
  bool interrupted;
} Qcow2Sink;

/* --- the process --- */

/* Between fork and exec. */
static void
prepare (gpointer parent)
{
  sigset_t none;
  sigemptyset (&none);
  sigprocmask (SIG_SETMASK, &none, NULL);
  setpgid (0, 0); /* Ctrl-C is the daemon's alone */
  prctl (PR_SET_PDEATHSIG, SIGKILL);
  if (getppid () != GPOINTER_TO_INT (parent))
    _exit (127);
}

static gboolean
spawn (Qcow2Sink *self, int listener, unsigned clients, GError **error)
{
  const char *program = g_getenv ("BACKUPD_QEMU_NBD");
  g_autofree char *shared = g_strdup_printf ("--shared=%u", clients);
  const char *argv[] = { "/bin/sh", "-c", LISTEN_SCRIPT, "sh", program && *program ? program : "qemu-nbd", "--format=qcow2", shared, "--",
                         self->path, NULL };
  g_auto (GStrv) environment = g_environ_setenv (g_get_environ (), "LC_ALL", "C", TRUE);
  g_autoptr (GError) spawn_error = NULL;
  int target = LISTEN_FD;
  if (g_spawn_async_with_pipes_and_fds (NULL, argv, (const char *const *)environment, G_SPAWN_DO_NOT_REAP_CHILD, prepare,
                                        GINT_TO_POINTER (getpid ()), -1, -1, -1, &listener, &target, 1, &self->pid, NULL, NULL, &self->err,
                                        &spawn_error))
    return TRUE;
  self->pid = 0;
  g_set_error (error, BK_ERROR, BK_ERROR_FAILED, "cannot run qemu-nbd: %s", spawn_error->message);
  return FALSE;
}

/* Its status once it has ended, which is waited for up to @seconds; it is killed then. */
static int
reap (Qcow2Sink *self, int seconds)
{
  int status = 0;
  gint64 deadline = g_get_monotonic_time () + seconds * G_TIME_SPAN_SECOND;
  for (pid_t pid = 0; pid == 0 || (pid < 0 && errno == EINTR);) {
    bool patient = g_get_monotonic_time () < deadline;
    if (!patient)
      kill (-self->pid, SIGKILL);
    pid = waitpid (self->pid, &status, patient ? WNOHANG : 0);
    if (pid == 0)
      g_usleep (2000);
  }
  self->pid = 0;
  return status;
}

/* The last line that it said, or why there is none. (transfer full) */
static char *
last_words (Qcow2Sink *self)
{
  char text[STDERR_LIMIT + 1];
  fcntl (self->err, F_SETFL, O_NONBLOCK);
  ssize_t n = read (self->err, text, STDERR_LIMIT);
  text[MAX (n, 0)] = '\0';
  g_strchomp (text);
  if (*text == '\0')
    return g_strdup ("it said nothing");
  const char *newline = strrchr (text, '\n');
  return g_strdup (newline ? newline + 1 : text);
}

/* --- a socket that is gone as soon as all are connected --- */

typedef struct {
  char *folder, *path;
  int fd;
} Listener;

static void
listener_clear (Listener *listener)
{
  if (listener->fd >= 0)
    close (listener->fd);
  if (listener->path)
    unlink (listener->path);
  if (listener->folder)
    rmdir (listener->folder);
  g_free (listener->path);
  g_free (listener->folder);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Listener, listener_clear)

/* In a folder that nobody else may enter. */
static gboolean
listener_open (Listener *listener, GError **error)
{
  struct sockaddr_un address = { .sun_family = AF_UNIX };
  g_autoptr (GError) failure = NULL;
  listener->folder = g_dir_make_tmp ("backupd-nbd-XXXXXX", &failure);
  if (listener->folder == NULL) {
    g_set_error (error, BK_ERROR, BK_ERROR_FAILED, "cannot make a temporary folder: %s", failure->message);
    return FALSE;
  }
  listener->path = g_build_filename (listener->folder, "s", NULL);
  if (g_strlcpy (address.sun_path, listener->path, sizeof address.sun_path) >= sizeof address.sun_path)
    return bk_error_set_errno (error, ENAMETOOLONG, "cannot listen on '%s'", listener->path);
  listener->fd = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (listener->fd < 0 || bind (listener->fd, (struct sockaddr *)&address, sizeof address) < 0 || listen (listener->fd, SOMAXCONN) < 0)
    return bk_error_set_errno (error, errno, "cannot listen on '%s'", listener->path);
  return TRUE;
}

/* --- the sink --- */

/* FALSE: interrupted meanwhile. */
static gboolean
set_inner (Qcow2Sink *self, BkSink *inner, GError **error)
{
  g_mutex_lock (&self->mutex);
  bool interrupted = self->interrupted;
  self->inner = inner;
  g_mutex_unlock (&self->mutex);
  if (interrupted)
    g_set_error_literal (error, BK_ERROR, BK_ERROR_CANCELLED, "cancelled");
  return !interrupted;
}

static gboolean
connect_inner (Qcow2Sink *self, const char *socket_path, unsigned workers, GCancellable *cancellable, GError **error)
{
  const BkNbdAddress address = { .socket_path = socket_path };
  BkSink *inner = bk_nbd_sink_new (&address, &(BkNbdSinkOptions){ .is_zero = true }, cancellable, error);
  if (inner == NULL || !set_inner (self, inner, error))
    return FALSE;
  if (inner->size == self->sink.size)
    return bk_sink_open (inner, workers, cancellable, error);
  g_set_error (error, BK_ERROR, BK_ERROR_FAILED, "'%s' has %" PRIu64 " bytes instead of %" PRIu64, self->path, inner->size, self->sink.size);
  return FALSE;
}

/* When it has ended by itself, that is the reason, not the connection. */
static void
explain (Qcow2Sink *self, GError **error)
{
  int status = 0;
  g_usleep (20000); /* the socket goes before the process */
  if (waitpid (self->pid, &status, WNOHANG) != self->pid)
    return;
  self->pid = 0;
  bool missing = WIFEXITED (status) && WEXITSTATUS (status) == 127;
  g_autofree char *words = last_words (self);
  g_clear_error (error);
  g_set_error (error, BK_ERROR, BK_ERROR_FAILED, "qemu-nbd has ended: %s%s", words,
               missing ? "; install it (Debian: qemu-utils), or name it in BACKUPD_QEMU_NBD" : "");
}

static gboolean
open_sink (BkSink *sink, unsigned workers, GCancellable *cancellable, GError **error)
{
  Qcow2Sink *self = (Qcow2Sink *)sink;
  g_auto (Listener) listener = { .fd = -1 };
  GError *failure = NULL;
  if (!listener_open (&listener, error) || !spawn (self, listener.fd, workers + 1, error))
    return FALSE;
  close (listener.fd); /* the last one: who connects to a dead process learns it at once */
  listener.fd = -1;
  if (connect_inner (self, listener.path, workers, cancellable, &failure))
    return TRUE;
  if (!g_error_matches (failure, BK_ERROR, BK_ERROR_CANCELLED))
    explain (self, &failure);
  g_propagate_error (error, failure);
  return FALSE;
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
  BkSink *inner = self->inner;
  if (!bk_sink_finish (inner, cancellable, error) || !set_inner (self, NULL, error)) {
    if (self->inner == NULL)
      bk_sink_free (inner);
    return FALSE;
  }
  bk_sink_free (inner); /* it ends with its last client */
  int status = reap (self, END_S);
  if (WIFEXITED (status) && WEXITSTATUS (status) == 0)
    return bk_fsio_sync (self->path, error); /* also what it wrote when it closed the image */
  g_autofree char *words = last_words (self);
  g_set_error (error, BK_ERROR, BK_ERROR_FAILED, "qemu-nbd could not close '%s': %s", self->path, words);
  return FALSE;
}

static void
interrupt_sink (BkSink *sink)
{
  Qcow2Sink *self = (Qcow2Sink *)sink;
  g_mutex_lock (&self->mutex);
  self->interrupted = true;
  if (self->inner)
    bk_sink_interrupt (self->inner);
  g_mutex_unlock (&self->mutex);
}

static void
free_sink (BkSink *sink)
{
  Qcow2Sink *self = (Qcow2Sink *)sink;
  if (self->inner)
    bk_sink_free (self->inner);
  if (self->pid > 0)
    reap (self, 0);
  if (self->err >= 0)
    close (self->err);
  g_mutex_clear (&self->mutex);
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
  self->sink.ops = &qcow2_sink_ops;
  self->sink.size = size;
  self->sink.block = BLOCK;
  self->path = g_strdup (path);
  self->err = -1;
  g_mutex_init (&self->mutex);
  return &self->sink;
}
