/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "thaw-guard.h"

#include "guard-report.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

/* Ready, and not told to freeze: something is wrong with the daemon, and others may want the agent. */
#define READY_S 60
#define GIVE_UP_S 600
#define MIN_PAUSE_MS 100
#define MAX_PAUSE_MS 2000
#define WORD_MAX 16

/* Not g_warning(): no word of the environment may make a complaint fatal. */
static void say (const char *format, ...) G_GNUC_PRINTF (1, 2);

static void
say (const char *format, ...)
{
  va_list args;
  va_start (args, format);
  g_autofree char *text = g_strdup_vprintf (format, args);
  va_end (args);
  g_printerr ("thaw-guard: %s\n", text);
}

static int64_t
in_ms (unsigned milliseconds)
{
  return g_get_monotonic_time () + (int64_t)milliseconds * 1000;
}

/* --- words --- */

/* The daemon may be gone: nobody listens, then. */
static void
report (const BkThawGuard *guard, const BkGuardReport *what)
{
  g_autoptr (json_object) json = bk_struct_to_json (&bk_guard_report_struct, what);
  g_autofree char *line = g_strconcat (json_object_to_json_string_ext (json, JSON_C_TO_STRING_PLAIN), "\n", NULL);
  ssize_t n = write (guard->reports, line, strlen (line));
  if (n < 0)
    g_debug ("nobody hears that it is %s: %s", what->state, g_strerror (errno));
}

static void
report_unable (const BkThawGuard *guard, const char *reason, bool frozen_by_others)
{
  report (guard, &(BkGuardReport){ .state = (char *)"unable", .reason = (char *)reason, .held = frozen_by_others });
}

typedef enum { WORD, NO_WORD, LATE, TOLD_TO_END } Heard;

static bool
read_word (const BkThawGuard *guard, char *word)
{
  for (size_t length = 0; length < WORD_MAX; length++) {
    ssize_t n = read (guard->commands, word + length, 1);
    if (n <= 0)
      return false;
    if (word[length] != '\n')
      continue;
    word[length] = '\0';
    return true;
  }
  return false;
}

static Heard
listen_until (const BkThawGuard *guard, int64_t deadline, const char *expected)
{
  char word[WORD_MAX + 1];
  struct pollfd fds[] = { { .fd = guard->commands, .events = POLLIN }, { .fd = guard->signals, .events = POLLIN } };
  for (;;) {
    int64_t left_us = deadline - g_get_monotonic_time ();
    int n = left_us <= 0 ? 0 : poll (fds, G_N_ELEMENTS (fds), (int)((left_us + 999) / 1000));
    if (n == 0)
      return LATE;
    if (n > 0 && fds[1].revents)
      return TOLD_TO_END;
    if (n > 0)
      return read_word (guard, word) && strcmp (word, expected) == 0 ? WORD : NO_WORD;
  }
}

/* --- thawing --- */

typedef struct {
  bool held;
  char *reason; /* why not; NULL when held, or when it is not known */
} Hold;

static void
hold_clear (Hold *hold)
{
  g_free (hold->reason);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Hold, hold_clear)

static void
lose_hold (Hold *hold, const char *reason)
{
  hold->held = false;
  if (hold->reason == NULL)
    hold->reason = g_strdup (reason);
}

#define GIVEN_UP "the guest has thawed by itself before the point in time was safe"

/* One attempt, on an open connection. TRUE when the agent has said that it is thawed. */
static gboolean
thaw_once (const BkThawGuard *guard, Hold *hold, GError **error)
{
  bool frozen = true;
  uint64_t count = 0;
  g_autoptr (GError) refusal = NULL;
  if (!bk_agent_is_frozen (guard->agent, &frozen, BK_GUARD_OPEN_MS, error))
    return FALSE;
  if (!frozen) {
    lose_hold (hold, GIVEN_UP);
    return TRUE;
  }
  /* Windows gives up after 10 s, says so in an error of the thaw, and is thawed. */
  if (!bk_agent_thaw (guard->agent, &count, BK_GUARD_THAW_MS, &refusal)) {
    lose_hold (hold, refusal->message);
    if (!g_error_matches (refusal, BK_ERROR, BK_ERROR_FAILED)) {
      g_propagate_error (error, g_steal_pointer (&refusal));
      return FALSE;
    }
  } else if (count == 0) {
    lose_hold (hold, GIVEN_UP);
  }
  if (!bk_agent_is_frozen (guard->agent, &frozen, BK_GUARD_OPEN_MS, error))
    return FALSE;
  if (frozen)
    g_set_error (error, BK_ERROR, BK_ERROR_FAILED, "the guest is still frozen after a thaw%s%s", refusal ? ": " : "", refusal ? refusal->message : "");
  return !frozen;
}

/* Once the connection has been lost it is not known what became of the last command: the next attempt begins anew. */
static bool
thaw (const BkThawGuard *guard, bool connected, Hold *hold)
{
  int64_t give_up = in_ms (GIVE_UP_S * 1000);
  unsigned pause_ms = MIN_PAUSE_MS;
  g_autofree char *said = NULL;
  for (;;) {
    g_autoptr (GError) error = NULL;
    connected = connected || bk_agent_open (guard->agent, BK_GUARD_OPEN_MS, &error);
    if (connected && thaw_once (guard, hold, &error))
      return true;
    lose_hold (hold, error->message);
    if (g_strcmp0 (said, error->message) != 0)
      say ("cannot thaw the guest yet: %s", error->message);
    g_free (said);
    said = g_strdup (error->message);
    if (g_get_monotonic_time () > give_up)
      return false;
    connected = false;
    g_usleep (pause_ms * 1000);
    pause_ms = MIN (2 * pause_ms, MAX_PAUSE_MS);
  }
}

static bool
thaw_and_report (const BkThawGuard *guard, bool connected, Hold *hold, int64_t began)
{
  bool thawed = thaw (guard, connected, hold);
  if (!thawed)
    say ("the guest could not be thawed within %d minutes: %s", GIVE_UP_S / 60, hold->reason);
  report (guard, &(BkGuardReport){ .state = (char *)(thawed ? "thawed" : "stuck"),
                                   .reason = hold->reason,
                                   .frozen_us = began ? (uint64_t)(g_get_monotonic_time () - began) : 0,
                                   .held = hold->held });
  return thawed;
}

/* --- freezing --- */

static gboolean
get_ready (const BkThawGuard *guard, bool *frozen, GError **error)
{
  return bk_agent_open (guard->agent, BK_GUARD_OPEN_MS, error) && bk_agent_is_frozen (guard->agent, frozen, BK_GUARD_OPEN_MS, error);
}

static void
hold_frozen (const BkThawGuard *guard, Hold *hold)
{
  g_autofree char *limit = NULL;
  switch (listen_until (guard, in_ms (guard->limit_ms), BK_GUARD_THAW)) {
  case WORD:
    hold->held = true;
    return;
  case LATE:
    limit = g_strdup_printf ("the guest was thawed at the limit of %.1f s, before the point in time was safe", guard->limit_ms / 1000.0);
    say ("%s", limit);
    lose_hold (hold, limit);
    return;
  case NO_WORD:
  case TOLD_TO_END:
    lose_hold (hold, "the daemon went away while the guest was frozen");
    return;
  }
}

static bool
freeze_and_thaw (const BkThawGuard *guard)
{
  int64_t began = g_get_monotonic_time ();
  uint64_t count = 0;
  g_auto (Hold) hold = { 0 };
  g_autoptr (GError) error = NULL;
  bool connected = bk_agent_freeze (guard->agent, guard->mounts, &count, BK_GUARD_FREEZE_MS, &error);
  if (connected && count == 0)
    g_set_error (&error, BK_ERROR, BK_ERROR_FAILED, "the guest froze no file system%s", guard->mounts && guard->mounts[0] ? ": nothing is mounted there" : "");
  if (error) {
    lose_hold (&hold, error->message);
    report_unable (guard, error->message, false);
    connected = !g_error_matches (error, BK_ERROR, BK_ERROR_UNREACHABLE);
  } else {
    report (guard, &(BkGuardReport){ .state = (char *)"frozen", .file_systems = count });
    hold_frozen (guard, &hold);
  }
  return thaw_and_report (guard, connected, &hold, began);
}

bool
bk_thaw_guard_freeze (const BkThawGuard *guard)
{
  bool frozen = false;
  g_autoptr (GError) error = NULL;
  if (!get_ready (guard, &frozen, &error) || frozen) {
    report_unable (guard, error ? error->message : "the guest is frozen already, by another program", frozen);
    return true;
  }
  report (guard, &(BkGuardReport){ .state = (char *)"ready" });
  return listen_until (guard, in_ms (READY_S * 1000), BK_GUARD_FREEZE) != WORD || freeze_and_thaw (guard);
}

bool
bk_thaw_guard_thaw (const BkThawGuard *guard)
{
  g_auto (Hold) hold = { 0 };
  return thaw_and_report (guard, false, &hold, 0);
}
