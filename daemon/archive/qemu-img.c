/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "qemu-img.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define KILL_AFTER (2 * G_USEC_PER_SEC)
#define LINE_LIMIT 65536  /* of stdout; what is longer is cut into several */
#define STDERR_LIMIT 8192 /* the tail that is kept */

typedef struct {
  GPid pid;
  GCancellable *cancellable; /* or NULL */
  int out, err;              /* pipes, -1 = at their end */
  GString *out_text;         /* begin of a line */
  GString *err_text;
  BkQemuImgLine line;
  gpointer user_data;
  gint64 kill_at; /* 0: nobody wants it to end */
  bool killed;
} Child;

static GMutex mutex;
static GPtrArray *running; /* Child, under the mutex */
#define PAUSED "bk-qemu-img-paused" /* data of a cancellable, under the mutex */

static void
child_clear (Child *child)
{
  if (child->out >= 0)
    close (child->out);
  if (child->err >= 0)
    close (child->err);
  g_string_free (child->out_text, TRUE);
  g_string_free (child->err_text, TRUE);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Child, child_clear)

/* Between fork and exec. */
static void
prepare (gpointer user_data)
{
  const pid_t *parent = user_data;
  sigset_t none;
  sigemptyset (&none);
  sigprocmask (SIG_SETMASK, &none, NULL);
  setpgid (0, 0); /* so that a wrapper script goes with all it started, and Ctrl-C is the daemon's alone */
  prctl (PR_SET_PDEATHSIG, SIGKILL);
  if (getppid () != *parent)
    _exit (127);
}

/* To the whole group of the child. */
static void
send_signal (const Child *child, int number)
{
  kill (-child->pid, number);
}

static void
enlist (Child *child)
{
  g_mutex_lock (&mutex);
  if (running == NULL)
    running = g_ptr_array_new ();
  g_ptr_array_add (running, child);
  if (child->cancellable != NULL && g_object_get_data (G_OBJECT (child->cancellable), PAUSED) != NULL)
    send_signal (child, SIGSTOP);
  g_mutex_unlock (&mutex);
}

/* Before it is reaped: afterwards its number may be somebody else's. */
static void
strike_off (Child *child)
{
  g_mutex_lock (&mutex);
  g_ptr_array_remove_fast (running, child);
  if (running->len == 0)
    g_clear_pointer (&running, g_ptr_array_unref);
  g_mutex_unlock (&mutex);
}

void
bk_qemu_img_pause (GCancellable *cancellable, gboolean pause)
{
  g_mutex_lock (&mutex);
  g_object_set_data (G_OBJECT (cancellable), PAUSED, GINT_TO_POINTER (pause));
  for (unsigned i = 0; running != NULL && i < running->len; i++) {
    const Child *child = running->pdata[i];
    if (child->cancellable == cancellable)
      send_signal (child, pause ? SIGSTOP : SIGCONT);
  }
  g_mutex_unlock (&mutex);
}

static gboolean
spawn (Child *child, const char *const *arguments, GError **error)
{
  const char *program = g_getenv ("BACKUPD_QEMU_IMG");
  g_autoptr (GPtrArray) argv = g_ptr_array_new ();
  g_ptr_array_add (argv, (gpointer)(program != NULL && *program != '\0' ? program : "qemu-img"));
  for (; *arguments != NULL; arguments++)
    g_ptr_array_add (argv, (gpointer)*arguments);
  g_ptr_array_add (argv, NULL);
  g_auto (GStrv) environment = g_environ_setenv (g_get_environ (), "LC_ALL", "C", TRUE);
  g_autoptr (GError) spawn_error = NULL;
  pid_t parent = getpid ();
  if (g_spawn_async_with_pipes (NULL, (char **)argv->pdata, environment,
                                G_SPAWN_DO_NOT_REAP_CHILD | G_SPAWN_SEARCH_PATH, prepare, &parent, &child->pid, NULL,
                                &child->out, &child->err, &spawn_error))
    return TRUE;
  bool missing = g_error_matches (spawn_error, G_SPAWN_ERROR, G_SPAWN_ERROR_NOENT);
  g_set_error (error, BK_ERROR, BK_ERROR_FAILED, "cannot run qemu-img: %s%s", spawn_error->message,
               missing ? "; install it (Debian: qemu-utils), or name it in BACKUPD_QEMU_IMG" : "");
  return FALSE;
}

static void
give_lines (Child *child, const char *text, size_t length)
{
  for (size_t i = 0; i < length; i++) {
    bool end = text[i] == '\n' || text[i] == '\r';
    if (!end)
      g_string_append_c (child->out_text, text[i]);
    if (!end && child->out_text->len < LINE_LIMIT)
      continue;
    if (child->line != NULL && child->out_text->len > 0)
      child->line (child->out_text->str, child->user_data);
    g_string_truncate (child->out_text, 0);
  }
}

static void
keep_tail (GString *tail, const char *text, size_t length)
{
  g_string_append_len (tail, text, (gssize)length);
  if (tail->len > STDERR_LIMIT)
    g_string_erase (tail, 0, (gssize)(tail->len - STDERR_LIMIT));
}

static void
read_pipe (Child *child, int *fd)
{
  char buffer[4096];
  ssize_t n = read (*fd, buffer, sizeof buffer);
  if (n < 0 && errno == EINTR)
    return;
  if (n <= 0) {
    if (fd == &child->out)
      give_lines (child, "\n", 1);
    close (*fd);
    *fd = -1;
  } else if (fd == &child->out) {
    give_lines (child, buffer, (size_t)n);
  } else {
    keep_tail (child->err_text, buffer, (size_t)n);
  }
}

static void
ask_to_end (Child *child)
{
  child->kill_at = g_get_monotonic_time () + KILL_AFTER;
  send_signal (child, SIGTERM);
  send_signal (child, SIGCONT); /* a stopped one would not notice */
}

static int
patience (const Child *child)
{
  if (child->kill_at == 0)
    return -1;
  return (int)MAX (0, (child->kill_at - g_get_monotonic_time ()) / 1000 + 1);
}

/* Until both pipes are at their end, or it had to be killed. */
static void
converse (Child *child)
{
  GPollFD cancelled = { -1, G_IO_IN, 0 };
  bool pollable = child->cancellable != NULL && g_cancellable_make_pollfd (child->cancellable, &cancelled);
  while ((child->out >= 0 || child->err >= 0) && !child->killed) {
    GPollFD fds[] = { { child->out, G_IO_IN, 0 }, { child->err, G_IO_IN, 0 }, cancelled };
    if (child->kill_at != 0)
      fds[2].fd = -1;
    if (g_poll (fds, G_N_ELEMENTS (fds), patience (child)) < 0)
      continue; /* EINTR */
    if (fds[0].revents != 0)
      read_pipe (child, &child->out);
    if (fds[1].revents != 0)
      read_pipe (child, &child->err);
    if (fds[2].revents != 0)
      ask_to_end (child);
    child->killed = child->kill_at != 0 && g_get_monotonic_time () >= child->kill_at;
  }
  if (child->killed)
    send_signal (child, SIGKILL);
  if (pollable)
    g_cancellable_release_fd (child->cancellable);
}

static int
reap (const Child *child)
{
  int status = 0;
  while (waitpid (child->pid, &status, 0) < 0 && errno == EINTR)
    continue;
  return status;
}

static BkErrorCode
code_of_message (const char *message)
{
  static const struct {
    const char *words;
    BkErrorCode code;
  } rows[] = {
    { "No space left", BK_ERROR_NO_SPACE },
    { "Disk quota exceeded", BK_ERROR_NO_SPACE },
    { "Failed to get \"", BK_ERROR_CONFLICT }, /* ... the "write" lock: somebody has it open */
    { "Permission denied", BK_ERROR_DENIED },
    { "Operation not permitted", BK_ERROR_DENIED },
    { "Read-only file system", BK_ERROR_DENIED },
    { "Connection refused", BK_ERROR_UNREACHABLE },
    { "Failed to connect", BK_ERROR_UNREACHABLE },
    { "No such file or directory", BK_ERROR_NOT_FOUND },
    { "Image is not in", BK_ERROR_CORRUPT },
    { "Image is corrupt", BK_ERROR_CORRUPT },
  };
  for (size_t i = 0; i < G_N_ELEMENTS (rows); i++)
    if (strstr (message, rows[i].words) != NULL)
      return rows[i].code;
  return BK_ERROR_FAILED;
}

/* (transfer full) */
static char *
last_line (const char *text)
{
  g_auto (GStrv) lines = g_strsplit_set (text, "\r\n", -1);
  for (unsigned i = g_strv_length (lines); i-- > 0;) {
    const char *line = g_strstrip (lines[i]);
    if (*line != '\0')
      return g_utf8_make_valid (g_str_has_prefix (line, "qemu-img: ") ? line + strlen ("qemu-img: ") : line, -1);
  }
  return NULL;
}

static gboolean
judge (const Child *child, const char *command, int status, int *exit_status, GError **error)
{
  if (child->kill_at != 0) {
    g_set_error (error, BK_ERROR, BK_ERROR_CANCELLED, "cancelled on request");
    return FALSE;
  }
  if (WIFSIGNALED (status)) {
    g_set_error (error, BK_ERROR, BK_ERROR_FAILED, "qemu-img %s was ended by signal %d", command, WTERMSIG (status));
    return FALSE;
  }
  int code = WEXITSTATUS (status);
  if (exit_status != NULL)
    *exit_status = code;
  if (code == 0 || (exit_status != NULL && code != 1))
    return TRUE;
  g_autofree char *message = last_line (child->err_text->str);
  if (message == NULL)
    message = g_strdup_printf ("exit status %d without a message", code);
  g_set_error (error, BK_ERROR, code_of_message (message), "qemu-img %s: %s", command, message);
  return FALSE;
}

gboolean
bk_qemu_img_run (const char *const *arguments, BkQemuImgLine line, gpointer user_data, GCancellable *cancellable,
                 int *exit_status, GError **error)
{
  if (g_cancellable_is_cancelled (cancellable)) {
    g_set_error (error, BK_ERROR, BK_ERROR_CANCELLED, "cancelled on request");
    return FALSE;
  }
  g_auto (Child) child = { 0, cancellable, -1, -1, g_string_new (NULL), g_string_new (NULL), line, user_data, 0, false };
  if (!spawn (&child, arguments, error))
    return FALSE;
  enlist (&child);
  converse (&child);
  strike_off (&child);
  return judge (&child, arguments[0], reap (&child), exit_status, error);
}
