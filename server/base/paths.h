/* paths: where things are when nobody says so, and folders that only we can look into.
 *
 *      state    $XDG_STATE_HOME/promptcached, else $HOME/.local/state/promptcached
 *      token    …/token in the state folder
 *      socket   $XDG_RUNTIME_DIR/promptcached.sock, else /tmp/promptcached-UID/sock
 *
 * A variable that is empty or not an absolute path counts as unset, as the XDG rules say. The client library has the
 * same rules in its own code (it may not include the server's): change both.
 *
 * All return 0, or -1 with a sentence in error (always terminated); ret is untouched on failure. */
#ifndef BASE_PATHS_H
#define BASE_PATHS_H

#include <stddef.h>

#define PATHS_BYTES_MAX 4096 /* a path with its NUL; longer ones are refused */

__attribute__((warn_unused_result)) int paths_state(char *ret, size_t bytes, char *error, size_t error_bytes);
__attribute__((warn_unused_result)) int paths_token(char *ret, size_t bytes, char *error, size_t error_bytes);

/* Also makes and checks the folder in /tmp when it comes to that (paths_private_dir). Refuses a name longer than a Unix
 * address holds. */
__attribute__((warn_unused_result)) int paths_socket(char *ret, size_t bytes, char *error, size_t error_bytes);

/* Makes the folder with mode 0700 if it is not there; then it must be a folder (not a link to one), ours, and closed to
 * all others. For places like /tmp, where anybody may have been first. The folder above it must exist. */
__attribute__((warn_unused_result)) int paths_private_dir(const char *path, char *error, size_t error_bytes);

/* Makes the folders above `path` that are missing, with mode 0700; those that are there stay as they are. */
__attribute__((warn_unused_result)) int paths_make_parents(const char *path, char *error, size_t error_bytes);

#endif
