/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Running a hook: a program of the administrator's, from the one folder that he has named in the configuration. Worker
 * threads.
 */
#pragma once

#include "bk-types.h"

/* The path of hook @name in @folder; (transfer full). INVALID: no folder is configured, or that is no name; NOT_FOUND: names
 * those that there are; DENIED: it cannot be executed, or somebody else than root and us could have written it. */
char *bk_hook_find (const char *folder, const char *name, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Runs @path with @event as its argument, @variables ("NAME=value") and little else in its environment, and nothing on its
 * standard input. When @seconds have passed, or @cancellable is cancelled, it and what it has started are told to end
 * (SIGTERM), and 5 s later killed. It is also told to end when we die. (transfer full): how it went; never NULL. */
BkHookRun *bk_hook_program_run (const char *path, const char *event, GStrv variables, unsigned seconds, GCancellable *cancellable);
