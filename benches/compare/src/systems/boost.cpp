// Boost.Interprocess message_queue behind five C functions. Compiled and loaded by boost.rs when a run begins.
// Each returns 0, or 1 and says why. Both ends poll: with ends that have a processor each that is the faster way.
#include <boost/interprocess/ipc/message_queue.hpp>

#include <cstddef>
#include <cstring>
#include <exception>

using boost::interprocess::create_only;
using boost::interprocess::message_queue;
using boost::interprocess::open_only;

namespace {

template <class F> int guarded(char *why, std::size_t room, F &&work) {
    try {
        return work();
    } catch (const std::exception &error) {
        std::strncpy(why, error.what(), room - 1);
        why[room - 1] = 0;
        return 1;
    }
}

} // namespace

extern "C" {

int rival_open(const char *name, std::size_t count, std::size_t size, int creates, void **queue, char *why,
               std::size_t room) {
    return guarded(why, room, [&] {
        *queue = creates ? new message_queue(create_only, name, count, size) : new message_queue(open_only, name);
        return 0;
    });
}

void rival_close(void *queue) { delete static_cast<message_queue *>(queue); }

void rival_remove(const char *name) { message_queue::remove(name); }

// -1: there is no room, or nothing there.
int rival_try_send(void *queue, const void *message, std::size_t size, char *why, std::size_t room) {
    return guarded(why, room,
                   [&] { return static_cast<message_queue *>(queue)->try_send(message, size, 0) ? 0 : -1; });
}

int rival_try_receive(void *queue, void *message, std::size_t size, std::size_t *received, char *why,
                      std::size_t room) {
    return guarded(why, room, [&] {
        unsigned int priority = 0;
        message_queue::size_type length = 0;
        if (!static_cast<message_queue *>(queue)->try_receive(message, size, length, priority)) {
            return -1;
        }
        *received = length;
        return 0;
    });
}
}
